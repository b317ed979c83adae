//! `inspect`: reads a spec and prints what is found, and before it, how far the fetching of a model is. Faults are findings; only a spec that
//! cannot be read is an error.

use std::path::Path;

use scalequest_crds::protocol::exit_codes::worker::{DONE, STOPPED, TASK_FAILED_PERMANENTLY};
use scalequest_crds::protocol::preflight::{Part, parts};
use scalequest_crds::v1alpha1::SynthesisRun;

use super::execute::TRY_AGAIN;
use super::signals;
use super::write_report::write_file;
use crate::hub::Settings;
use crate::preflight::Looking;
use crate::stages::ProgressReporter;

/// The spec's file that stands for standard input: its first line is the spec, and its end the wish to stop.
const STDIN: &str = "-";

/// Inspects what the SynthesisRun in `file` refers to, or one part of it, and returns the exit code. The findings are printed, or written
/// to `report` in as many bytes as a termination message takes. `fetch`: whether models are fetched that are not there.
pub fn inspect(file: &Path, part: Option<usize>, report: Option<&Path>, fetch: bool) -> i32 {
    let is_stdin = file == Path::new(STDIN);
    let run = match read(file, is_stdin) {
        Ok(run) => run,
        Err(message) => {
            tracing::error!("{}: {message}", file.display());
            return TASK_FAILED_PERMANENTLY;
        }
    };
    let parts = parts(&run.spec);
    let part = match part.map(|number| parts.get(number)) {
        None => Part::whole(&run.spec),
        Some(Some(part)) => part.clone(),
        Some(None) => {
            tracing::error!("the spec has {} parts, --part counts from 0", parts.len());
            return TASK_FAILED_PERMANENTLY;
        }
    };
    let stop = signals::listen(is_stdin);
    let looking = Looking {
        fetch,
        settings: Settings::from_env(),
        progressing: &ProgressReporter::stdout(),
        stop: &stop,
    };
    let Some(found) = crate::preflight::inspect(&run.spec, &part, &looking) else {
        tracing::info!("stopped, what was fetched stays");
        return STOPPED;
    };
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
fn read(file: &Path, is_stdin: bool) -> Result<SynthesisRun, String> {
    let cannot = |error| format!("cannot be read: {error}");
    let text = if is_stdin {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map_err(cannot)?;
        line
    } else {
        std::fs::read_to_string(file).map_err(cannot)?
    };
    if text.trim_start().starts_with('{') {
        serde_json::from_str(&text).map_err(|error| format!("is no SynthesisRun: {error}"))
    } else {
        serde_saphyr::from_str(&text).map_err(|error| format!("is no SynthesisRun: {error}"))
    }
}
