//! Publish: makes the dataset from the sealed stages of the run. The work is `publish`'s; this stage opens the places and says
//! what came of it.

use scalequest_crds::protocol::task::StageParams;

use super::StageError;
use super::shard::{Finished, Shard, wrong_params};
use crate::publish::{self, PublishError};
use crate::storage::commit::ShardOutput;
use crate::storage::store::Store;

/// Publishes the dataset.
///
/// # Errors
/// An input is damaged, the output cannot be written or is somebody else's, or a stop was asked for.
pub fn publish(shard: &Shard<'_>) -> Result<Finished, StageError> {
    let StageParams::Publish { publication } = &shard.task.params else {
        return Err(wrong_params(shard));
    };
    let output = Store::open(&publication.location)?;
    let seals = (0..shard.task.inputs.len())
        .map(|index| shard.input(index).map(|(_, seal)| seal))
        .collect::<Result<Vec<_>, _>>()?;
    shard.progressing.begin("publish");
    publish::publish(shard.task, &shard.store, &seals, &output, &|| {
        shard.stop.is_asked()
    })?;
    let output = ShardOutput::new("none")
        .table("rows", Vec::new())
        .table("rejects", Vec::new());
    Ok(Finished::committed(
        shard.dir.commit(&shard.range, &output)?,
    ))
}

impl From<PublishError> for StageError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Stopped => StageError::Stopped,
            PublishError::Read(error) => error.into(),
            PublishError::Output(error) if !error.is_permanent() => {
                let message = format!("output: {error}");
                StageError::world(&error, message)
            }
            error => StageError::Task(error.to_string()),
        }
    }
}
