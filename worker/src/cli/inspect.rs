//! `inspect`: reads a spec and prints what is found. Faults are findings; only a spec that cannot be read is an error.

use std::path::Path;

use scalequest_crds::exit::worker::{DONE, TASK_CANNOT_WORK};
use scalequest_crds::inspection::{Part, parts};
use scalequest_crds::run::SynthesisRun;

use super::execute::TRY_AGAIN;
use super::write_report::write_file;

/// Inspects what the SynthesisRun in `file` refers to, or one part of it, and returns the exit code. The findings are printed, or written
/// to `report` in as many bytes as a termination message takes.
pub fn inspect(file: &Path, part: Option<usize>, report: Option<&Path>) -> i32 {
    let run = match read(file) {
        Ok(run) => run,
        Err(message) => {
            tracing::error!("{}: {message}", file.display());
            return TASK_CANNOT_WORK;
        }
    };
    let parts = parts(&run.spec);
    let part = match part.map(|number| parts.get(number)) {
        None => Part::whole(&run.spec),
        Some(Some(part)) => part.clone(),
        Some(None) => {
            tracing::error!("the spec has {} parts, --part counts from 0", parts.len());
            return TASK_CANNOT_WORK;
        }
    };
    let found = crate::inspect::inspect(&run.spec, &part);
    let Some(report) = report else {
        return match serde_json::to_string(&found) {
            Ok(found) => {
                println!("{found}");
                DONE
            }
            Err(error) => {
                tracing::error!("internal error: the findings cannot be written: {error}");
                TRY_AGAIN
            }
        };
    };
    match write_file(&found.to_bounded_json(), report) {
        Ok(()) => DONE,
        Err(error) => {
            tracing::error!(path = %report.display(), %error, "the findings cannot be written");
            TRY_AGAIN
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
