//! `run`, `seal` and `place-model`: reads the task, does the work, and turns however it ends (panics included) into a report and an exit code.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use scalequest_crds::protocol::exit_codes::worker::{
    DISK_FULL, DONE, SHARD_FAILED_PERMANENTLY, STOPPED, TASK_FAILED_PERMANENTLY, UNAVAILABLE,
};
use scalequest_crds::protocol::report::{Outcome, StageReport};
use scalequest_crds::protocol::task::{StageTask, TASK_VERSION};
use scalequest_crds::v1alpha1::Stage;

use super::write_report::write_report;
use crate::stages::{
    CancellationToken, ProgressReporter, StageError, StageResult, mark_failed, prepare_model,
    run_task, seal_if_complete, seal_task,
};

/// Exit code of failures that a retry may resolve.
pub const TRY_AGAIN: i32 = 1;

/// Exit code of a panic: a mistake of ours, tried again as the world's.
const PANICKED: i32 = 70;

/// What is to be done of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work<'a> {
    /// Make a shard.
    Shard(i64),
    /// Commit a shard as given up.
    GiveUp(i64),
    /// Seal the stage.
    Seal,
    /// Put the stage's model at a path.
    PlaceModel(&'a Path),
}

/// Does `work` of the task in `file`, and returns the exit code. `seal_last`: seals the stage too where a shard was its last.
pub fn execute(
    file: &Path,
    work: Work<'_>,
    seal_last: bool,
    report: Option<&Path>,
    stop: CancellationToken,
    reporter: &ProgressReporter,
) -> i32 {
    let started = Instant::now();
    let (task, ended) = match read_task(file) {
        Err(error) => (None, Ok(Err(error))),
        Ok(task) => {
            let does = || match work {
                Work::Shard(shard) => run_task(&task, shard, &stop, reporter),
                Work::GiveUp(shard) => mark_failed(&task, shard, &stop, reporter),
                Work::Seal => seal_task(&task, &stop),
                Work::PlaceModel(at) => prepare_model(&task, at, &stop, reporter),
            };
            let does = || {
                let result = does()?;
                Ok(match seal_last {
                    true => seal_if_complete(&task, result, &stop),
                    false => result,
                })
            };
            let ended = catch_unwind(AssertUnwindSafe(does));
            (Some(task), ended)
        }
    };
    let (exit, result) = match ended {
        Ok(Ok(result)) => (DONE, result),
        Ok(Err(error)) => failed(error),
        Err(panic) => (
            PANICKED,
            StageResult::new(Outcome::Failed {
                message: format!("internal error: {}", words(&*panic)),
            }),
        ),
    };
    // A seal is the stage's, whoever made it.
    let shard = match (work, &result.outcome) {
        (Work::Seal | Work::PlaceModel(_), _) | (_, Outcome::Sealed { .. }) => None,
        (Work::Shard(shard) | Work::GiveUp(shard), _) => Some(shard),
    };
    // A task that cannot be read has neither stage nor key; a report needs both.
    let (stage, key) = task.map_or((Stage::Publish, String::new()), |task| {
        (task.id.stage, task.key)
    });
    say(&result.outcome);
    let Some(path) = report else { return exit };
    let StageResult {
        outcome,
        counts,
        histograms,
        compute_backends,
        warnings,
    } = result;
    let worker_millis = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
    let report = StageReport {
        stage,
        key,
        shard,
        outcome,
        counts,
        histograms,
        backends: compute_backends,
        worker_millis,
        gpu_millis: 0,
        warnings,
    };
    if let Err(error) = write_report(&report, path) {
        tracing::error!(path = %path.display(), %error, "the report cannot be written");
        let is_full = matches!(
            StageError::transient(&error, String::new()),
            StageError::DiskFull(_)
        );
        return match exit {
            DONE if is_full => DISK_FULL,
            DONE => TRY_AGAIN,
            exit => exit,
        };
    }
    exit
}

fn failed(error: StageError) -> (i32, StageResult) {
    let (exit, outcome) = match error {
        StageError::Stopped => (STOPPED, Outcome::Stopped),
        StageError::InputCorrupted {
            stage,
            key,
            message,
        } => (
            TRY_AGAIN,
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
        StageError::DiskFull(message) => (DISK_FULL, Outcome::Failed { message }),
        StageError::Unavailable(message) => (UNAVAILABLE, Outcome::Failed { message }),
        StageError::Transient(message) => (TRY_AGAIN, Outcome::Failed { message }),
    };
    (exit, StageResult::new(outcome))
}

fn say(outcome: &Outcome) {
    match outcome {
        Outcome::Done { reused } => tracing::info!(reused, "shard done"),
        Outcome::Sealed { digest, .. } => tracing::info!(digest, "stage sealed"),
        Outcome::Missing { total, .. } => tracing::info!(total, "shards are missing"),
        Outcome::Stopped => tracing::info!("stopped, progress saved"),
        Outcome::InputCorrupted { stage, message, .. } => tracing::warn!(%stage, "{message}"),
        Outcome::Failed { message } => tracing::error!("{message}"),
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
}

fn read_task(file: &Path) -> Result<StageTask, StageError> {
    let cannot = |what: String| StageError::Permanent(format!("task {}: {what}", file.display()));
    let text = std::fs::read_to_string(file)
        .map_err(|error| cannot(format!("cannot be read: {error}")))?;
    let version: Version = serde_json::from_str(&text)
        .map_err(|error| cannot(format!("is not a stage task: {error}")))?;
    if version.version != TASK_VERSION {
        return Err(cannot(format!(
            "has version {}, but this worker knows version {TASK_VERSION}: use the worker that belongs to the operator",
            version.version
        )));
    }
    let task: StageTask = serde_json::from_str(&text)
        .map_err(|error| cannot(format!("is not a stage task: {error}")))?;
    if task.params.stage() != task.id.stage {
        return Err(cannot(format!(
            "is for stage {} but its parameters are those of {}",
            task.id.stage,
            task.params.stage()
        )));
    }
    if task.key.len() != 64 || !task.key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(cannot("has no key of 64 hex digits".into()));
    }
    if task.rows < 0 || task.shard_rows < 1 {
        return Err(cannot(format!(
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
