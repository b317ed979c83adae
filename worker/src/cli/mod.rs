//! The worker's edge: arguments, signals, logs, the report and the exit code. Everything that fails further in arrives here
//! as a value; a panic is caught here and nowhere else.

mod among;

mod arguments;

mod bench;

mod execute;

mod inspect;

mod keep_server;

mod log;

mod own_environment;

mod save_profile;

mod serve_progress;

mod signals;

mod write_report;

use std::process::ExitCode;

use clap::Parser;
use scalequest_crds::protocol::exit_codes::worker::TASK_FAILED_PERMANENTLY;

use crate::stages::ProgressReporter;
use arguments::{Arguments, Command};
use execute::Work;
use own_environment::{CANDLE_THREADS, KEEP_PAGES, settle};

/// Exit code of a wrong command line: as for a task that can never work.
const USAGE: i32 = TASK_FAILED_PERMANENTLY;

/// Runs the command line and says with which code to end.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return code(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    log::start(arguments.log_format);
    code(match arguments.command {
        Command::Run {
            task,
            shard,
            among,
            report,
            stop_on_stdin_eof,
            give_up,
            seal_last,
            progress_port,
        } => {
            let Some(shard) = among.map_or(Some(shard), |among| among.shard(shard)) else {
                tracing::error!("--among lists fewer shards than --shard asks for");
                return code(USAGE);
            };
            if let Err(message) = settle(&[KEEP_PAGES, CANDLE_THREADS]) {
                // It does the same, only slower.
                tracing::warn!("{message}");
            }
            let stop = signals::listen(stop_on_stdin_eof);
            let work = if give_up {
                Work::GiveUp(shard)
            } else {
                Work::Shard(shard)
            };
            let reporter = reporter(progress_port);
            execute::execute(&task, work, seal_last, report.as_deref(), stop, &reporter)
        }
        Command::Seal { task, report } => {
            let stop = signals::listen(false);
            let reporter = reporter(None);
            execute::execute(&task, Work::Seal, false, report.as_deref(), stop, &reporter)
        }
        Command::PlaceModel { task, at, report } => {
            let stop = signals::listen(false);
            let (work, reporter) = (Work::PlaceModel(&at), reporter(None));
            execute::execute(&task, work, false, report.as_deref(), stop, &reporter)
        }
        Command::Bench {
            model,
            dtype,
            save: Some(file),
            no_training,
            ..
        } => save_profile::save_profile(&model, &dtype, !no_training, &file),
        Command::Bench {
            model,
            dtype,
            cases,
            ..
        } => match dtype[..] {
            [one] => bench::bench(&model, one.into(), cases),
            _ => {
                tracing::error!("--dtype names several: give one, or --save FILE");
                USAGE
            }
        },
        Command::KeepServer { command } => keep_server::keep_server(&command),
        Command::Inspect {
            spec,
            part,
            report,
            no_fetch,
        } => inspect::inspect(&spec, part, report.as_deref(), !no_fetch),
    })
}

/// Creates a reporter to standard output and, if given, to an HTTP server at `port`.
fn reporter(port: Option<u16>) -> ProgressReporter {
    let Some(port) = port else {
        return ProgressReporter::stdout();
    };
    let latest = serve_progress::Latest::default();
    serve_progress::serve_progress(port, &latest);
    ProgressReporter::stdout().tee(move |line| latest.set(line))
}

fn code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
