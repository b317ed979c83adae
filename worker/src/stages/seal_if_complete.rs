//! Seals a stage with its last shard: the worker that commits the last shard also seals the stage, so that no other worker must
//! start for it. Large stages are sealed by a separate worker without an accelerator.

use scalequest_crds::protocol::report::Outcome;
use scalequest_crds::protocol::task::StageTask;

use super::shard::StageResult;
use super::{CancellationToken, StageError, seal_task};
use crate::storage::seal::is_covered;
use crate::storage::store::Store;

/// Maximum size of an output that is sealed right after the last shard: sealing reads it again, which takes a few seconds.
const MAX_INLINE_SEAL_BYTES: u64 = 256 << 20;

/// Seals the stage if this worker committed its last shard, with result `shard_result`, and returns the result to report.
/// Workers that end at the same time may both seal, with the same seal. A shard that was committed before does not seal: in a
/// stage that was finished before, every shard is one. If sealing fails, the shard is still done.
pub fn seal_if_complete(
    task: &StageTask,
    shard_result: StageResult,
    cancellation: &CancellationToken,
) -> StageResult {
    if shard_result.outcome != (Outcome::Done { reused: false }) {
        return shard_result;
    }
    match try_seal(task, cancellation) {
        Ok(Some(sealed)) => sealed,
        Ok(None) => shard_result,
        Err(error) => {
            tracing::warn!(%error, "the shard is done; sealing the stage is left to another worker");
            shard_result
        }
    }
}

fn try_seal(
    task: &StageTask,
    cancellation: &CancellationToken,
) -> Result<Option<StageResult>, StageError> {
    let store = Store::open(&task.workspace)?;
    if !is_covered(&store, task, MAX_INLINE_SEAL_BYTES)? {
        return Ok(None);
    }
    let sealed = seal_task(task, cancellation)?;
    Ok(Some(sealed).filter(|sealed| matches!(sealed.outcome, Outcome::Sealed { .. })))
}
