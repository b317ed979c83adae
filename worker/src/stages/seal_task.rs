//! Seals the stage of a task, or reports which of its shards are missing. Every byte is read again, since later stages and all
//! counts rely on the seal.

use scalequest_crds::protocol::task::StageTask;

use super::shard::StageResult;
use super::{CancellationToken, StageError};
use crate::storage::seal::seal;
use crate::storage::store::Store;

/// Seals the stage of `task`.
///
/// # Errors
/// The workspace cannot be read or written.
pub fn seal_task(
    task: &StageTask,
    cancellation: &CancellationToken,
) -> Result<StageResult, StageError> {
    cancellation.check()?;
    let store = Store::open(&task.workspace)?;
    let sealing = seal(&store, task, true)?;
    let mut result = StageResult::new(sealing.outcome);
    result.warnings = sealing.warnings;
    if let Some(seal) = sealing.seal {
        result.counts = seal.counts;
        result.histograms = seal.histograms;
        result.compute_backends = seal.backends;
    }
    Ok(result)
}
