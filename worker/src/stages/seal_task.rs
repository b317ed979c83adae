//! Seals the stage of a task, or says which of its shards are missing. Every byte is read again: a seal is what counts rest on.

use scalequest_crds::protocol::task::StageTask;

use super::shard::Finished;
use super::{StageError, Stop};
use crate::storage::seal::seal;
use crate::storage::store::Store;

/// Seals the stage of `task`.
///
/// # Errors
/// The workspace cannot be read or written.
pub fn seal_task(task: &StageTask, stop: &Stop) -> Result<Finished, StageError> {
    stop.check()?;
    let store = Store::open(&task.workspace)?;
    let sealing = seal(&store, task, true)?;
    let mut finished = Finished::with(sealing.outcome);
    finished.warnings = sealing.warnings;
    if let Some(seal) = sealing.seal {
        finished.counts = seal.counts;
        finished.histograms = seal.histograms;
        finished.bodies = seal.bodies;
    }
    Ok(finished)
}
