//! `preflight`: reads a spec, runs the preflight checks on it and prints their report, after the progress of downloads. Errors in the spec are
//! results; the command fails only if the spec cannot be read.

use std::path::Path;

use scalequest_crds::protocol::exit_codes::worker::{DONE, STOPPED, TASK_FAILED_PERMANENTLY};
use scalequest_crds::protocol::preflight::{Part, parts};
use scalequest_crds::v1alpha1::SynthesisRun;

use super::{RETRYABLE_FAILURE, report, signals};
use crate::hub::Settings;
use crate::preflight::{self, PreflightContext};
use crate::stages::ProgressReporter;

/// The file name that means standard input: its first line is the spec, and its end requests a stop.
const STDIN: &str = "-";

/// Checks what the SynthesisRun in `file` refers to, or one part of it, and returns the exit code. The report is printed, or written
/// to `report_file` in as many bytes as a termination message takes. `fetch`: whether to fetch models that are not cached.
pub fn run(file: &Path, part: Option<usize>, report_file: Option<&Path>, fetch: bool) -> i32 {
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
    let cancellation = signals::listen(is_stdin);
    let context = PreflightContext {
        run: run.metadata.name.as_deref(),
        fetch,
        settings: Settings::from_env(),
        reporter: &ProgressReporter::stdout(),
        cancellation: &cancellation,
    };
    let Some(found) = preflight::check(&run.spec, &part, &context) else {
        tracing::info!("stopped; downloads resume with the next attempt");
        return STOPPED;
    };
    let Some(report_file) = report_file else {
        return match serde_json::to_string(&found) {
            Ok(found) => {
                println!("{found}");
                DONE
            }
            Err(error) => {
                tracing::error!("internal error: cannot serialize the report: {error}");
                RETRYABLE_FAILURE
            }
        };
    };
    match report::write_json(&found.to_bounded_json(), report_file) {
        Ok(()) => DONE,
        Err(error) => {
            tracing::error!(path = %report_file.display(), %error, "cannot write the report");
            RETRYABLE_FAILURE
        }
    }
}

/// Reads JSON, which the operator writes, or YAML, which users write.
fn read(file: &Path, is_stdin: bool) -> Result<SynthesisRun, String> {
    let fail = |error| format!("cannot be read: {error}");
    let text = if is_stdin {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map_err(fail)?;
        line
    } else {
        std::fs::read_to_string(file).map_err(fail)?
    };
    if text.trim_start().starts_with('{') {
        serde_json::from_str(&text).map_err(|error| format!("is not a SynthesisRun: {error}"))
    } else {
        serde_saphyr::from_str(&text).map_err(|error| format!("is not a SynthesisRun: {error}"))
    }
}
