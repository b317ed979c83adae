//! Probes what a stage reads besides its model: the sealed outputs of earlier stages, and question files.

use scalequest_crds::protocol::manifest::Seal;
use scalequest_crds::protocol::task::{QuestionFile, StageParams};

use super::{MAX_READ_OBJECTS, Probe, READ_BYTES};
use crate::stages::StageError;
use crate::storage::store::read_location_start;
use crate::storage::workspace::{StageDir, objects_of};

/// Reads the seal of every input, and the beginning of some of its objects.
pub(super) fn probe_inputs(probe: &Probe<'_>) -> Result<(), StageError> {
    let mut corrupt = Ok(());
    for input in &probe.task.inputs {
        probe.cancellation.check()?;
        let read = StageDir::open_input(&probe.workspace, input)
            .map_err(StageError::from)
            .and_then(|(dir, seal)| probe_objects(probe, &dir, &seal));
        match read {
            // The other inputs may be in the way of the stage too.
            Err(error @ StageError::InputCorrupted { .. }) => corrupt = Err(error),
            result => result?,
        }
    }
    corrupt
}

/// Reads the beginning of some objects of a sealed stage.
pub(super) fn probe_objects(
    probe: &Probe<'_>,
    dir: &StageDir,
    seal: &Seal,
) -> Result<(), StageError> {
    let objects = seal.shards.iter().flat_map(objects_of);
    for object in objects.take(MAX_READ_OBJECTS) {
        if !probe.read_start(&dir.object_path(&object.sha256))? {
            let path = probe.workspace.describe(&dir.object_path(&object.sha256));
            return Err(StageError::InputCorrupted {
                stage: dir.stage(),
                key: dir.key().to_owned(),
                message: format!("{path} is corrupt: it is missing"),
            });
        }
    }
    Ok(())
}

/// Reads the beginning of every question file and benchmark.
pub(super) fn probe_files(probe: &Probe<'_>) -> Result<(), StageError> {
    for file in question_files(&probe.task.params) {
        probe.cancellation.check()?;
        read_location_start(&file.location, &probe.access, READ_BYTES)?;
    }
    Ok(())
}

/// Returns the question files that the stage reads.
fn question_files(params: &StageParams) -> &[QuestionFile] {
    match params {
        StageParams::Qft { seed_questions, .. } | StageParams::Label { seed_questions, .. } => {
            seed_questions
        }
        StageParams::Filter {
            contamination: Some(contamination),
            ..
        } => &contamination.benchmarks,
        _ => &[],
    }
}
