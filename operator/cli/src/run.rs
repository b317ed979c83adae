//! `scalequest run`: makes a dataset, or resumes.

use scalequest_runner::accept::accept;
use scalequest_runner::progress::{LogFormat, display};
use scalequest_runner::run_loop::RunLoop;
use scalequest_runner::shutdown;
use tokio::runtime::Builder;

use super::arguments::RunArguments;
use super::{CommandError, runtime, spec_file, summary};

/// Runs the run in a file to its end, or until it is stopped; returns the exit code.
pub fn run(arguments: &RunArguments, format: LogFormat, verbose: u8) -> Result<i32, CommandError> {
    let run = spec_file::read(&arguments.spec.file)?;
    runtime(Builder::new_current_thread())?.block_on(async {
        let shutdown = shutdown::listen()?;
        let mut display = display(format, verbose > 0);
        let session = accept(&run, arguments.options, shutdown.clone(), &mut *display).await?;
        let output = session.run.output().to_string();
        let (outcome, status) = RunLoop::new(session, display, shutdown).run().await;
        summary::print_summary(&outcome, &status, &output, format)
    })
}
