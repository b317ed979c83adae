//! `run`, `seal`, `prepare-model` and `probe`: reads the task, executes an action of it, and turns the result (panics included) into a report and an
//! exit code.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use scalequest_crds::protocol::exit_codes::worker::{
    DONE, NO_PROGRESS, SHARD_FAILED_PERMANENTLY, STOPPED, TASK_FAILED_PERMANENTLY, of_cause,
};
use scalequest_crds::protocol::report::{Outcome, StageReport};
use scalequest_crds::protocol::task::{StageTask, TASK_VERSION};
use scalequest_crds::v1alpha1::Stage;
use scalequest_engine::heartbeat::beats;

use super::watchdog::{self, Watchdog};
use super::{RETRYABLE_FAILURE, report};
use crate::stages::{
    CancellationToken, ProgressReporter, StageError, StageResult, mark_failed, prepare_model,
    probe, run_task, seal_if_complete, seal_task,
};

/// Exit code of a panic: a bug, retried like any failure of unknown cause.
const PANICKED: i32 = 70;

/// Time for the end of a process that hangs.
const EXIT_GRACE: Duration = Duration::from_secs(10);

/// What to do with a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskAction<'a> {
    /// Compute a shard.
    RunShard(i64),
    /// Commit a shard as failed: all its rows become rejects.
    MarkFailed(i64),
    /// Seal the stage.
    Seal,
    /// Prepare the stage's model at a path for a server.
    PrepareModel(&'a Path),
    /// Probe what the stage needs.
    Probe,
}

impl TaskAction<'_> {
    /// Returns the shard that it is about; `None` if it is about the whole stage.
    fn shard(self) -> Option<i64> {
        match self {
            TaskAction::RunShard(shard) | TaskAction::MarkFailed(shard) => Some(shard),
            TaskAction::Seal | TaskAction::PrepareModel(_) | TaskAction::Probe => None,
        }
    }
}

/// Executes `action` of the task in `file` and returns the exit code. `seals`: seal the stage too if all its shards are
/// committed afterwards. `timeout`: ends the process if the attempt makes no progress for so long.
pub fn execute(
    file: &Path,
    action: TaskAction<'_>,
    seals: bool,
    report_file: Option<&Path>,
    timeout: Option<Duration>,
    cancellation: CancellationToken,
    reporter: &ProgressReporter,
) -> i32 {
    let started = Instant::now();
    let (task, ended) = match read_task(file) {
        Err(error) => (None, Ok(Err(error))),
        Ok(task) => {
            let execute = || match action {
                TaskAction::RunShard(shard) => run_task(&task, shard, &cancellation, reporter),
                TaskAction::MarkFailed(shard) => mark_failed(&task, shard, &cancellation, reporter),
                TaskAction::Seal => {
                    reporter.set_activity("seal");
                    seal_task(&task, &cancellation)
                }
                TaskAction::PrepareModel(at) => prepare_model(&task, at, &cancellation, reporter),
                TaskAction::Probe => probe(&task, &cancellation, reporter),
            };
            let execute_and_seal = || {
                let result = execute()?;
                if !seals {
                    return Ok(result);
                }
                reporter.set_activity("seal");
                Ok(seal_if_complete(&task, result, &cancellation))
            };
            let watchdog = watch(&task, action, report_file, timeout, started, reporter);
            let ended = catch_unwind(AssertUnwindSafe(execute_and_seal));
            watchdog.stop();
            (Some(task), ended)
        }
    };
    let (exit, result) = match ended {
        Ok(Ok(result)) => (DONE, result),
        Ok(Err(error)) => failed(error),
        Err(panic) => (
            PANICKED,
            StageResult::new(Outcome::Failed {
                message: format!("internal error: {}", panic_message(&*panic)),
            }),
        ),
    };
    // A task that cannot be read has neither stage nor key; a report needs both.
    let (stage, key) = task.map_or((Stage::Publish, String::new()), |task| {
        (task.id.stage, task.key)
    });
    match (action, &result.outcome) {
        (TaskAction::Probe, Outcome::Done { .. }) => tracing::info!("the stage can start"),
        (_, outcome) => log_outcome(outcome),
    }
    let Some(path) = report_file else { return exit };
    let stage_report = stage_report((stage, key), action.shard(), result, started);
    if let Err(error) = report::write(&stage_report, path) {
        tracing::error!(path = %path.display(), %error, "cannot write the report");
        return match exit {
            DONE => failed(StageError::retryable(&error, String::new())).0,
            exit => exit,
        };
    }
    exit
}

/// Starts the watchdog of an attempt, which reports and ends the process if there is no progress for `timeout`.
fn watch(
    task: &StageTask,
    action: TaskAction<'_>,
    report_file: Option<&Path>,
    timeout: Option<Duration>,
    started: Instant,
    reporter: &ProgressReporter,
) -> Watchdog {
    let describe_activity = reporter.description();
    let (stage, key, shard) = (task.id.stage, task.key.clone(), action.shard());
    let report_file = report_file.map(Path::to_path_buf);
    Watchdog::start(timeout, beats, move || {
        let timeout = watchdog::describe(timeout.unwrap_or_default());
        let message = format!("no progress for {timeout} while {}", describe_activity());
        tracing::error!("{message}");
        // What hangs may also hang the report or the exit.
        std::thread::spawn(|| {
            std::thread::sleep(EXIT_GRACE);
            std::process::abort();
        });
        let result = StageResult::new(Outcome::Failed { message });
        let stage_report = stage_report((stage, key), shard, result, started);
        let written = report_file.map(|path| report::write(&stage_report, &path));
        if let Some(Err(error)) = written {
            tracing::error!(%error, "cannot write the report");
        }
        std::process::exit(NO_PROGRESS);
    })
}

/// Creates the report of an attempt.
fn stage_report(
    (stage, key): (Stage, String),
    shard: Option<i64>,
    result: StageResult,
    started: Instant,
) -> StageReport {
    // A seal belongs to the stage, also if a shard's worker made it.
    let is_seal = matches!(result.outcome, Outcome::Sealed { .. });
    let StageResult {
        outcome,
        counts,
        histograms,
        compute_backends,
        warnings,
    } = result;
    let worker_millis = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
    StageReport {
        stage,
        key,
        shard: shard.filter(|_| !is_seal),
        outcome,
        counts,
        histograms,
        backends: compute_backends,
        worker_millis,
        gpu_millis: 0,
        warnings,
    }
}

fn failed(error: StageError) -> (i32, StageResult) {
    let (exit, outcome) = match error {
        StageError::Stopped => (STOPPED, Outcome::Stopped),
        StageError::InputCorrupted {
            stage,
            key,
            message,
        } => (
            RETRYABLE_FAILURE,
            Outcome::InputCorrupted {
                stage,
                key,
                message,
            },
        ),
        StageError::Permanent(message) => (TASK_FAILED_PERMANENTLY, Outcome::Failed { message }),
        StageError::PermanentShard(message) => {
            (SHARD_FAILED_PERMANENTLY, Outcome::Failed { message })
        }
        StageError::Transient { cause, message } => {
            (of_cause(cause), Outcome::Transient { cause, message })
        }
        StageError::Unexpected(message) => (RETRYABLE_FAILURE, Outcome::Failed { message }),
    };
    (exit, StageResult::new(outcome))
}

fn log_outcome(outcome: &Outcome) {
    match outcome {
        Outcome::Done { reused } => tracing::info!(reused, "shard done"),
        Outcome::Sealed { digest, .. } => tracing::info!(digest, "stage sealed"),
        Outcome::Missing { total, .. } => tracing::info!(total, "shards are missing"),
        Outcome::Stopped => tracing::info!("stopped, progress saved"),
        Outcome::InputCorrupted { stage, message, .. } => tracing::warn!(%stage, "{message}"),
        Outcome::Transient { message, .. } | Outcome::Failed { message } => {
            tracing::error!("{message}");
        }
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("panicked without a message")
}

fn read_task(file: &Path) -> Result<StageTask, StageError> {
    let fail = |what: String| StageError::Permanent(format!("task {}: {what}", file.display()));
    let text =
        std::fs::read_to_string(file).map_err(|error| fail(format!("cannot be read: {error}")))?;
    let version: Version = serde_json::from_str(&text)
        .map_err(|error| fail(format!("is not a stage task: {error}")))?;
    if version.version != TASK_VERSION {
        return Err(fail(format!(
            "has version {}, but this worker knows version {TASK_VERSION}: use the worker that belongs to the operator",
            version.version
        )));
    }
    let task: StageTask = serde_json::from_str(&text)
        .map_err(|error| fail(format!("is not a stage task: {error}")))?;
    if task.params.stage() != task.id.stage {
        return Err(fail(format!(
            "is for stage {} but its parameters are those of {}",
            task.id.stage,
            task.params.stage()
        )));
    }
    if task.key.len() != 64 || !task.key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(fail("has no content key of 64 hex digits".into()));
    }
    if task.rows < 0 || task.shard_rows < 1 {
        return Err(fail(format!(
            "has {} rows in shards of {}; expected 0 or more, and 1 or more",
            task.rows, task.shard_rows
        )));
    }
    Ok(task)
}

#[derive(serde::Deserialize)]
struct Version {
    version: u32,
}
