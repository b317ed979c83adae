//! `inspect`: reads a spec and prints what is found. Faults are findings; only a spec that cannot be read is an error.

use std::path::Path;

use scalequest_crds::exit::worker::{DONE, TASK_CANNOT_WORK};
use scalequest_crds::run::SynthesisRun;

/// Inspects what the SynthesisRun in `file` refers to, prints the findings and returns the exit code.
pub fn inspect(file: &Path) -> i32 {
    let run = match read(file) {
        Ok(run) => run,
        Err(message) => {
            tracing::error!("{}: {message}", file.display());
            return TASK_CANNOT_WORK;
        }
    };
    match serde_json::to_string(&crate::inspect::inspect(&run.spec)) {
        Ok(found) => {
            println!("{found}");
            DONE
        }
        Err(error) => {
            tracing::error!("internal error: the findings cannot be written: {error}");
            1
        }
    }
}

/// JSON, which the runner writes, or YAML, which people write.
fn read(file: &Path) -> Result<SynthesisRun, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))?;
    if text.trim_start().starts_with('{') {
        serde_json::from_str(&text).map_err(|error| format!("is no SynthesisRun: {error}"))
    } else {
        serde_saphyr::from_str(&text).map_err(|error| format!("is no SynthesisRun: {error}"))
    }
}
