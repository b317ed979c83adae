//! `scalequest run`: makes a dataset, or resumes.

use scalequest_crds::protocol::exit_codes;
use tokio::runtime::Builder;

use super::arguments::RunArguments;
use super::runtime::{runtime, signal_error};
use super::{CliError, spec_file, summary};
use scalequest_runner::accept::{AcceptContext, AcceptError, Options, accept};
use scalequest_runner::progress::{LogFormat, display};
use scalequest_runner::run_loop::{RunLoop, RunOutcome};
use scalequest_runner::shutdown;

/// Runs the run in a file to its end, or until it is stopped.
pub fn run(arguments: &RunArguments, format: LogFormat, verbose: u8) -> Result<i32, CliError> {
    let RunArguments {
        spec,
        workers,
        cores,
        memory,
        gpus,
        no_check,
    } = arguments;
    let run = spec_file::read(&spec.file)?;
    let wide =
        |number: Option<u32>| number.map(|number| usize::try_from(number).unwrap_or(usize::MAX));
    let options = Options {
        workers: wide(*workers),
        cores: wide(*cores),
        memory: *memory,
        gpus: wide(*gpus),
        skip_verification: *no_check,
    };
    let runtime = runtime(Builder::new_current_thread())?;
    let (output, outcome, status) = runtime.block_on(async {
        let shutdown = shutdown::listen().map_err(signal_error)?;
        let mut display = display(format, verbose > 0);
        let context = AcceptContext {
            shutdown: shutdown.clone(),
            display: display.as_mut(),
        };
        let session = accept(&run, options, context).await.map_err(accept_error)?;
        let output = session.run.output().to_string();
        let (outcome, status) = RunLoop::new(session, display, shutdown).run().await;
        Ok::<_, CliError>((output, outcome, status))
    })?;
    summary::print_summary(&outcome, &status, &output, format)?;
    Ok(exit_code(&outcome))
}

/// Converts why a run was not accepted.
pub(super) fn accept_error(error: AcceptError) -> CliError {
    match error {
        AcceptError::InvalidInput(errors) => CliError::InvalidInput(errors),
        AcceptError::Infrastructure(message) => CliError::Failed(message),
        AcceptError::Interrupted => CliError::Interrupted,
    }
}

fn exit_code(outcome: &RunOutcome) -> i32 {
    use scalequest_core::plan::End;
    match outcome {
        RunOutcome::Ended(End::Complete) => exit_codes::run::DONE,
        RunOutcome::Ended(End::Incomplete(_)) => exit_codes::run::INCOMPLETE,
        RunOutcome::Ended(End::Failed(_)) | RunOutcome::Aborted(_) => exit_codes::run::FAILED,
        RunOutcome::Interrupted | RunOutcome::Suspended(_) => exit_codes::run::INTERRUPTED,
    }
}
