//! Seals a stage with its last shard: whoever finds every shard committed seals at once, and no worker needs to be started for it. What is
//! large is left to a worker that holds no accelerator.

use scalequest_crds::protocol::report::Outcome;
use scalequest_crds::protocol::task::StageTask;

use super::shard::Finished;
use super::{StageError, Stop, seal_task};
use crate::storage::seal::is_covered;
use crate::storage::store::Store;

/// Most bytes of a stage's output that are read again right after its last shard: a few seconds' worth.
const SEALED_AT_ONCE_BYTES: u64 = 256 << 20;

/// The end of a worker whose shard has ended with `finished`: the seal of the stage where that was its last shard. Workers that end together may
/// both seal: the seal is the same. A seal that does not come about is no failure of the shard. Who only found a shard made leaves it: in a
/// stage that was finished before, that is every worker.
pub fn seal_if_last(task: &StageTask, finished: Finished, stop: &Stop) -> Finished {
    if finished.outcome != (Outcome::Done { reused: false }) {
        return finished;
    }
    match seal_now(task, stop) {
        Ok(Some(sealed)) => sealed,
        Ok(None) => finished,
        Err(error) => {
            tracing::warn!(%error, "the shard is done; sealing the stage is left to another worker");
            finished
        }
    }
}

fn seal_now(task: &StageTask, stop: &Stop) -> Result<Option<Finished>, StageError> {
    let store = Store::open(&task.workspace)?;
    if !is_covered(&store, task, SEALED_AT_ONCE_BYTES)? {
        return Ok(None);
    }
    let sealed = seal_task(task, stop)?;
    Ok(Some(sealed).filter(|sealed| matches!(sealed.outcome, Outcome::Sealed { .. })))
}
