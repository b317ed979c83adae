//! Probes the places to which a stage writes: its directory in the workspace, the output of a publication, and the directory for
//! temporary files.

use scalequest_crds::protocol::task::StageParams;

use super::{MAX_READ_OBJECTS, Probe};
use crate::publish;
use crate::stages::StageError;
use crate::stages::scratch_dir::ScratchDir;
use crate::storage::store::{DISK_PROBE_BYTES, Store, StoreError};
use crate::storage::workspace::ReadError;

/// Size of an object that finds out only whether a folder is writable.
const SMALL_BYTES: usize = 1;

/// Lists the stage's directory, as resuming and sealing do, and reads what earlier attempts have left there.
pub(super) fn probe_stage_dir(probe: &Probe<'_>) -> Result<(), StageError> {
    match probe.dir.seal() {
        // A corrupt seal of the stage itself is replaced by the next one.
        Ok(_) | Err(ReadError::Corrupted { .. } | ReadError::Unexpected { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let entries = probe.workspace.list(&probe.dir.path(""))?;
    for entry in entries.iter().take(MAX_READ_OBJECTS) {
        probe.read_start(&entry.path)?;
    }
    Ok(())
}

/// Writes objects to all places to which the stage writes, and deletes them.
pub(super) fn probe_writes(probe: &Probe<'_>) -> Result<(), StageError> {
    let task = probe.task;
    if let StageParams::Publish { publication } = &task.params {
        let output = Store::open_with(&publication.location, &probe.access)?;
        publish::check_output(&publication.name, &output)?;
        let written = check_writable(&output, "", DISK_PROBE_BYTES, false);
        written.map_err(publish::PublishError::from)?;
    }
    let trains = matches!(
        task.params,
        StageParams::Qft { .. } | StageParams::Qpo { .. } | StageParams::TrainScorer { .. }
    );
    if trains {
        probe_scratch()?;
    }
    for (folder, bytes) in [("objects", DISK_PROBE_BYTES), ("shards", SMALL_BYTES)] {
        check_writable(&probe.workspace, &probe.dir.path(folder), bytes, trains)?;
    }
    Ok(check_writable(
        &probe.workspace,
        &probe.dir.path(""),
        SMALL_BYTES,
        trains,
    )?)
}

/// Checks that a folder is writable. `deletes`: whether the stage fails if it may not delete objects.
fn check_writable(
    store: &Store,
    folder: &str,
    bytes: usize,
    deletes: bool,
) -> Result<(), StoreError> {
    match store.check_writable(folder, bytes) {
        Err(
            error @ StoreError::Denied {
                doing: "delete", ..
            },
        ) if !deletes => {
            tracing::warn!(%error, "the object of the probe stays");
            Ok(())
        }
        result => result,
    }
}

/// Writes to the directory in which a training prepares its checkpoints and its model.
fn probe_scratch() -> Result<(), StageError> {
    let scratch = ScratchDir::new()?;
    let store = Store::open(&scratch.path().display().to_string())?;
    Ok(store.check_writable("", DISK_PROBE_BYTES)?)
}
