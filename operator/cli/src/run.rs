//! `scalequest run`: makes a dataset, or goes on making it.

use scalequest_crds::protocol::exit_codes;

use super::arguments::RunArguments;
use super::{Refusal, spec_file, summary};
use scalequest_runner::accept::{Options, Refused, Watcher, accept};
use scalequest_runner::drive::{Driver, Left};
use scalequest_runner::progress::{LogFormat, display};
use scalequest_runner::stop;

/// Drives the run in a file to its end, or until it is stopped.
pub fn run(arguments: &RunArguments, format: LogFormat, verbose: u8) -> Result<i32, Refusal> {
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
        trust: *no_check,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Refusal::Failed(format!("cannot start: {error}")))?;
    let (output, left, status) = runtime.block_on(async {
        let stop = stop::listen()
            .map_err(|error| Refusal::Failed(format!("cannot listen to signals: {error}")))?;
        let mut display = display(format, verbose > 0);
        let watcher = Watcher {
            stop: stop.clone(),
            display: display.as_mut(),
        };
        let session = accept(&run, options, watcher).await.map_err(refusal)?;
        let output = session.run.output().to_string();
        let (left, status) = Driver::new(session, display, stop).drive().await;
        Ok::<_, Refusal>((output, left, status))
    })?;
    summary::tell(&left, &status, &output, format)?;
    Ok(exit_code(&left))
}

/// A refusal to take up a run, as the command line says it.
pub(super) fn refusal(refused: Refused) -> Refusal {
    match refused {
        Refused::BadInput(errors) => Refusal::BadInput(errors),
        Refused::World(message) => Refusal::Failed(message),
        Refused::Interrupted => Refusal::Interrupted,
    }
}

fn exit_code(left: &Left) -> i32 {
    use scalequest_core::plan::End;
    match left {
        Left::Ended(End::Complete) => exit_codes::run::DONE,
        Left::Ended(End::Incomplete(_)) => exit_codes::run::INCOMPLETE,
        Left::Ended(End::Failed(_)) | Left::Broken(_) => exit_codes::run::FAILED,
        Left::Interrupted | Left::Held(_) => exit_codes::run::INTERRUPTED,
    }
}
