//! The worker's edge: arguments, signals, logs, the report and the exit code. Errors of the modules below arrive here as values; panics are
//! caught here and nowhere else.

mod arguments;

mod task;

mod preflight;

mod bench;

mod save_profile;

mod supervise;

mod environment;

mod log;

mod progress_server;

mod report;

mod signals;

mod watchdog;

use std::process::ExitCode;

use clap::Parser;
use scalequest_crds::protocol::exit_codes::worker::TASK_FAILED_PERMANENTLY;

use crate::stages::ProgressReporter;
use arguments::{Arguments, Command};
use environment::{CANDLE_THREADS, NO_PAGE_PURGE, reexec_with_env};
use task::{TaskAction, execute};

/// Exit code of a failure that a retry may fix.
const RETRYABLE_FAILURE: i32 = 1;

/// Exit code of an invalid command line: as for a task that failed permanently.
const USAGE: i32 = TASK_FAILED_PERMANENTLY;

/// Runs the command line and returns the exit code.
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
            shards,
            report,
            stop_on_stdin_eof,
            mark_failed,
            seal_if_complete,
            progress_port,
            watchdog,
        } => {
            let Some(shard) = shards.map_or(Some(shard), |list| list.nth(shard)) else {
                tracing::error!("--shards lists fewer shards than --shard needs");
                return code(USAGE);
            };
            if let Err(message) = reexec_with_env(&[NO_PAGE_PURGE, CANDLE_THREADS]) {
                // Only performance depends on these variables.
                tracing::warn!("{message}");
            }
            let cancellation = signals::listen(stop_on_stdin_eof);
            let action = if mark_failed {
                TaskAction::MarkFailed(shard)
            } else {
                TaskAction::RunShard(shard)
            };
            let reporter = reporter(progress_port);
            execute(
                &task,
                action,
                seal_if_complete,
                report.as_deref(),
                watchdog.timeout(),
                cancellation,
                &reporter,
            )
        }
        Command::Seal {
            task,
            report,
            watchdog,
        } => {
            let (cancellation, reporter) = (signals::listen(false), reporter(None));
            execute(
                &task,
                TaskAction::Seal,
                false,
                report.as_deref(),
                watchdog.timeout(),
                cancellation,
                &reporter,
            )
        }
        Command::PrepareModel {
            task,
            at,
            report,
            watchdog,
        } => {
            let (cancellation, reporter) = (signals::listen(false), reporter(None));
            let action = TaskAction::PrepareModel(&at);
            execute(
                &task,
                action,
                false,
                report.as_deref(),
                watchdog.timeout(),
                cancellation,
                &reporter,
            )
        }
        Command::Probe {
            task,
            report,
            watchdog,
        } => {
            let (cancellation, reporter) = (signals::listen(false), reporter(None));
            execute(
                &task,
                TaskAction::Probe,
                false,
                report.as_deref(),
                watchdog.timeout(),
                cancellation,
                &reporter,
            )
        }
        Command::Bench {
            model,
            dtype,
            save: Some(file),
            no_training,
            ..
        } => save_profile::run(&model, &dtype, !no_training, &file),
        Command::Bench {
            model,
            dtype,
            cases,
            ..
        } => match dtype[..] {
            [one] => bench::run(&model, one.into(), cases),
            _ => {
                tracing::error!("--dtype lists several: give one, or --save FILE");
                USAGE
            }
        },
        Command::Supervise { command } => supervise::run(&command),
        Command::Preflight {
            spec,
            part,
            report,
            no_fetch,
        } => preflight::run(&spec, part, report.as_deref(), !no_fetch),
    })
}

/// Returns a reporter that writes progress to standard output and serves it at `port`.
fn reporter(port: Option<u16>) -> ProgressReporter {
    let Some(port) = port else {
        return ProgressReporter::stdout();
    };
    let latest = progress_server::LatestProgress::default();
    progress_server::start(port, &latest);
    ProgressReporter::stdout().tee(move |line| latest.set(line))
}

fn code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
