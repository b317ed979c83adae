//! Publish: writes the dataset from the sealed stages of the run. The work is done by the module `publish`; this stage opens the
//! storage locations and commits the result.

use scalequest_crds::protocol::task::StageParams;

use super::StageError;
use super::shard::{Shard, StageResult, wrong_params};
use crate::publish::{self, PublishError};
use crate::storage::commit::ShardOutput;
use crate::storage::store::Store;

/// Publishes the dataset.
///
/// # Errors
/// An input is corrupt, the output cannot be written or holds another dataset, or the task is cancelled.
pub fn publish(shard: &Shard<'_>) -> Result<StageResult, StageError> {
    let StageParams::Publish { publication } = &shard.task.params else {
        return Err(wrong_params(shard));
    };
    let output = Store::open(&publication.location)?;
    let seals = (0..shard.task.inputs.len())
        .map(|index| shard.input(index).map(|(_, seal)| seal))
        .collect::<Result<Vec<_>, _>>()?;
    shard.reporter.set_activity("publish");
    publish::publish(shard.task, &shard.store, &seals, &output, &|| {
        shard.cancellation.is_cancelled()
    })?;
    let output = ShardOutput::new("none")
        .table("rows", Vec::new())
        .table("rejects", Vec::new());
    Ok(StageResult::committed(
        shard.dir.commit(&shard.range, &output)?,
    ))
}

impl From<PublishError> for StageError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Stopped => StageError::Stopped,
            PublishError::Read(error) => error.into(),
            PublishError::Output(error) => {
                let message = format!("output: {error}");
                match error.cause() {
                    Some(cause) => StageError::Transient { cause, message },
                    None => StageError::Permanent(message),
                }
            }
            error => StageError::Permanent(error.to_string()),
        }
    }
}
