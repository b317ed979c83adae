//! Blocked stages in the cluster: their Jobs are deleted, so that no accelerator waits, and a small Job probes whether the cause is gone. State
//! and pauses are in the record, see [`scalequest_core::record::BlockedStage`].

use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::protocol::exit_codes::worker::TASK_FAILED_PERMANENTLY;
use scalequest_crds::protocol::task::StageTask;

use super::stage_jobs::identity_of;
use super::task_maps::missing_map;
use super::{Actions, JobCreation, ReconcileInput};
use crate::names::{JobIdentity, Purpose};
use crate::observe::job::{JobState, ObservedJob};
use crate::observe::pod::last_failure;
use crate::resources::config_maps::task_text;
use crate::resources::job::stage as stage_job;
use crate::resources::{Common, pod_settings};
use scalequest_core::format_bytes::format_bytes;
use scalequest_core::memory::{GpuUse, stage_memory};
use scalequest_core::record::{BlockedStage, BlockedState, RunRecord};
use scalequest_core::stage_machine::{AttemptEnd, Blocked, FailureClass};
use scalequest_core::status::conditions::Degradation;

/// What ends the block of a cause that no probe can check.
const ADVICE: &str = "the stage runs again after an edit of pods, stores, modelCache, serviceAccountName, priorityClassName or failurePolicy, or of the annotation scalequest.dev/retry";

/// Records that `blocked` blocks the stage of `task`.
pub(super) fn block(
    input: &ReconcileInput<'_>,
    task: &StageTask,
    blocked: &Blocked,
    record: &mut RunRecord,
) {
    let probes = probes(input, task).map(|job| job.identity.attempt + 1);
    let next = probes.max().unwrap_or(0);
    let token = input.retry_token(record);
    let blocked = Blocked {
        cause: blocked.cause,
        message: match blocked.cause {
            Cause::OutOfMemory => format!("{}; {}", blocked.message, memory(record, task)),
            _ => blocked.message.clone(),
        },
    };
    record.block(task, &blocked, next, token, input.now_millis);
}

/// Returns which memory the pods of a stage have, and how much its worker likely takes.
fn memory(record: &RunRecord, task: &StageTask) -> String {
    let spec = &record.spec;
    let placed = pod_settings(spec, task.id.stage);
    let limits = placed.and_then(|pods| pods.resources.as_ref());
    let limit = limits.and_then(|resources| resources.limits.get("memory"));
    let limit = limit.map_or("no memory limit".into(), |limit| {
        format!("a memory limit of {limit}")
    });
    let generator = task.id.generator.as_deref();
    let models = &record.preflight.models;
    let likely = stage_memory(task.id.stage, generator, spec, models, GpuUse::default());
    format!(
        "its pods have {limit}, and it likely takes {} and more",
        format_bytes(likely.host)
    )
}

/// Records the result of the probe of a blocked stage. Returns whether it has one.
pub(super) fn record_probe(
    input: &ReconcileInput<'_>,
    task: &StageTask,
    record: &mut RunRecord,
) -> bool {
    let mut ended = probes(input, task).filter(|job| job.has_ended());
    let Some(job) = ended.find(|job| is_current(record, &job.identity)) else {
        return false;
    };
    let end = || last_failure(input.owned.pods_of(job));
    // A mistake in the task is the stage's to report.
    let is_permanent = || end().is_some_and(|end| end.code == Some(TASK_FAILED_PERMANENTLY));
    if job.state == JobState::Complete || is_permanent() {
        record.retry_blocked(&task.key);
        return true;
    }
    let mut pods = input.owned.pods_of(job);
    let found = pods.find_map(|pod| match pod.attempt_end(&task.key)? {
        AttemptEnd::Failed {
            class: FailureClass::Transient(cause),
            message,
        } if cause.is_probeable() => Some(Blocked { cause, message }),
        _ => None,
    });
    let at = job.finished_at_millis.unwrap_or(input.now_millis);
    record.fail_probe(&task.key, found.as_ref(), at);
    true
}

/// Adds the next probe of the blocked stage of `task` to `actions` if it is due, or requeues the run for it.
pub(super) fn start_probe(
    input: &ReconcileInput<'_>,
    common: Common<'_>,
    record: &RunRecord,
    task: &StageTask,
    actions: &mut Actions,
) {
    let Some(entry) = record.blocked(&task.key) else {
        return;
    };
    let identity = JobIdentity {
        purpose: Purpose::Probe,
        attempt: entry.probe,
        ..identity_of(task)
    };
    let is_running = probes(input, task).any(|job| job.identity.attempt == entry.probe);
    let due = entry.probe_due(input.settings.started_at_millis);
    let Some(due) = due.filter(|_| !is_running) else {
        return;
    };
    if actions.is_due(due - input.now_millis) {
        actions.create.push(JobCreation {
            task: missing_map(input, common, &identity, task_text(task)),
            job: Some(stage_job(common, &identity, task, None)),
        });
    }
}

/// Whether `identity` is that of the probe that a blocked stage waits for.
pub(super) fn is_current(record: &RunRecord, identity: &JobIdentity) -> bool {
    let blocked = record.blocked(&identity.key);
    identity.purpose == Purpose::Probe
        && blocked.is_some_and(|blocked| {
            blocked.state == BlockedState::Blocked && blocked.probe == identity.attempt
        })
}

/// Returns the degradations of blocked stages, and of those that are retried without progress so far.
pub(super) fn degradations(record: &RunRecord) -> Vec<Degradation> {
    let degradation = |blocked: &BlockedStage| {
        let state = match (blocked.state, blocked.cause.is_probeable()) {
            (BlockedState::Retrying, _) => "retrying",
            (BlockedState::Blocked, true) => "blocked until a probe succeeds",
            (BlockedState::Blocked, false) => ADVICE,
        };
        let message = format!("{}: {}; {state}", blocked.id, blocked.message);
        Degradation::new(blocked.cause.reason(), message)
    };
    record.blocked.iter().map(degradation).collect()
}

/// Returns the probe Jobs of the stage of `task`.
fn probes<'a>(
    input: &ReconcileInput<'a>,
    task: &StageTask,
) -> impl Iterator<Item = &'a ObservedJob> {
    let identity = identity_of(task);
    let jobs = input.owned.jobs.iter().map(|job| &**job);
    jobs.filter(move |job| {
        job.identity.purpose == Purpose::Probe && job.identity.same_stage(&identity)
    })
}
