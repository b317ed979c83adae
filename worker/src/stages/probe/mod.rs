//! Probes the environment of a stage that something outside of it has failed: performs the stage's own operations on stores, files and
//! endpoints, each on little data, without an accelerator and without loading a model. The errors are classified as the stage's are, so
//! that a probe never succeeds while the stage would still be refused. It computes nothing and knows nothing of retries.

mod model;

mod output;

mod inputs;

use scalequest_crds::protocol::report::Outcome;
use scalequest_crds::protocol::task::StageTask;

use super::shard::StageResult;
use super::{CancellationToken, ProgressReporter, StageError};
use crate::storage::store::{Access, Store, StoreError};
use crate::storage::workspace::StageDir;

/// Bytes that are read of each file and object.
const READ_BYTES: u64 = 4096;

/// Objects of one stage that are read.
const MAX_READ_OBJECTS: usize = 32;

/// A part of a probe.
type Step = fn(&Probe<'_>) -> Result<(), StageError>;

/// The parts of a probe with their activities: reads first, since their errors say more than those of a write.
const STEPS: [(&str, Step); 5] = [
    ("probe inputs", inputs::probe_inputs),
    ("probe files", inputs::probe_files),
    ("probe stage directory", output::probe_stage_dir),
    ("probe model", model::probe_model),
    ("probe output", output::probe_writes),
];

/// What the parts of a probe share.
struct Probe<'a> {
    task: &'a StageTask,
    cancellation: &'a CancellationToken,
    /// Access to object stores, with short retries: a probe that fails is repeated.
    access: Access,
    workspace: Store,
    /// The stage's directory.
    dir: StageDir,
}

/// Probes what `task` needs: its workspace, its inputs, the files and the model that its parameters name, and the places to which it
/// writes. Writes and deletes objects of a few MiB, and leaves nothing behind. An input that is corrupt or gone is no failure of a probe:
/// the stage itself reports it, and the operator recomputes it.
///
/// # Errors
/// The first operation that fails, as the stage itself would report it; or the probe is cancelled.
pub fn probe(
    task: &StageTask,
    cancellation: &CancellationToken,
    reporter: &ProgressReporter,
) -> Result<StageResult, StageError> {
    cancellation.check()?;
    let access = Access::for_probe();
    let workspace = Store::open_with(&task.workspace, &access)?;
    let probe = Probe {
        task,
        cancellation,
        dir: StageDir::for_task(&workspace, task),
        workspace,
        access,
    };
    for (activity, step) in STEPS {
        reporter.set_activity(activity);
        match step(&probe) {
            Err(StageError::InputCorrupted { message, .. }) => {
                tracing::warn!("the stage will find this input corrupt: {message}");
            }
            result => result?,
        }
        cancellation.check()?;
    }
    Ok(StageResult::new(Outcome::Done { reused: false }))
}

impl Probe<'_> {
    /// Reads the beginning of an object of the workspace; returns whether it exists.
    fn read_start(&self, path: &str) -> Result<bool, StoreError> {
        // Stores reject a range of an empty object.
        match self.workspace.size(path)? {
            None => Ok(false),
            Some(0) => Ok(true),
            Some(size) => {
                match self
                    .workspace
                    .read_range(path, 0..READ_BYTES.min(size), None)
                {
                    Err(StoreError::NotFound { .. }) => Ok(false),
                    result => result.map(|_| true),
                }
            }
        }
    }
}
