//! Advances an accepted run: records the results of its Jobs, plans, and converges the Jobs to the plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::protocol::shard_set::ShardSet;
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::SynthesisRun;
use scalequest_crds::v1alpha1::conditions::{COMPLETE, FAILED, PROGRESSING, reason};

use super::obsolete_jobs::{collect, is_outdated, obsolete};
use super::stage_jobs::{NextAction, StageJobs, identity_of};
use super::task_maps::missing_map;
use super::{
    AcceptedRun, Actions, JobCreation, ReconcileInput, StatusUpdate, VersionedRecord, blocked,
    progress, record_results, usage, waits,
};
use crate::names::{APPROVE, Purpose};
use crate::observe::job::{ObservedJob, millis};
use crate::resources::config_maps::task_text;
use crate::resources::job::{parallelism, stage as stage_job};
use crate::resources::{Common, Owner};
use scalequest_core::plan::{End, Observations, Plan, plan};
use scalequest_core::record::RunRecord;
use scalequest_core::stage_machine::Blocked;
use scalequest_core::status::conditions::Degradation;
use scalequest_core::validate::{Environment, ValidRun, validate};

/// Time after its end when the usage of a Job is recorded even if nothing else changes the record: well before its TTL.
const COUNT_USAGE_AFTER_MILLIS: i64 = 300_000;

/// Requeue interval of a run with a budget while workers run.
const BUDGET_REQUEUE_MILLIS: i64 = 30_000;

/// Decides what is done for a run with a record. `saved`: the record as it is persisted, `None` if it is new.
///
/// A reconcile that changes the record saves it, once, before anything that follows from the change is created. So no Job depends on a seal that
/// is not persisted, and an operator that crashes after any write decides the same again from the saved record and the Jobs.
pub(super) fn advance(
    input: &ReconcileInput<'_>,
    mut record: RunRecord,
    saved: Option<&VersionedRecord>,
    live: Result<ValidRun, Vec<FieldError>>,
) -> Actions {
    let mut degradations = amend(input, &mut record, live);
    let token = input.retry_token(&record);
    record.leave_failure(&token, |key| {
        let jobs = input.owned.jobs.iter();
        let attempts = jobs.filter(|job| job.identity.key == key);
        attempts
            .map(|job| job.identity.attempt + 1)
            .max()
            .unwrap_or(0)
    });
    record.retry_edited(&token);
    record.is_approved |= input.run.annotations().contains_key(APPROVE);
    let run = SynthesisRun::new(&record.name, record.spec.clone());
    let run = match validate(&run, Environment::Cluster) {
        Ok(run) => run,
        Err(errors) => return unreadable(&errors),
    };
    let plan = converged_plan(input, &run, &mut record);
    let mut actions = Actions::only(StatusUpdate::Unchanged);
    let (owner, worker) = (Owner::of(input.run), record.worker.clone());
    let common = Common {
        owner: &owner,
        spec: run.spec(),
        worker: &worker,
        settings: input.settings,
    };
    forget_unplanned(&plan, &mut record);
    actions.delete = obsolete(input, |job| {
        let task = planned(&plan, &record, job);
        let desired = || Some(recreated(common, job, task?));
        task.is_some() && !is_outdated(input, job, desired)
    });
    let before = saved.map(|saved| &saved.record);
    count_usage(input, &mut record, before, &actions.delete);
    start(
        input,
        common,
        &run,
        &record,
        &plan,
        &mut actions,
        &mut degradations,
    );
    actions.resize = resize(input, &run, &actions);
    actions.delete_run = expire(input, &run, &plan, &mut actions);
    let waits = waits::waits(input);
    degradations.extend(waits.degradations);
    if let Some(millis) = waits.changes_in_millis {
        actions.requeue_in(millis);
    }
    degradations.splice(0..0, blocked::degradations(&record));
    schedule_requeue(input, &run, &record, &plan, &mut actions);
    if let Some(before) = before {
        collect(input, before, &mut actions);
    }
    actions.save = (before != Some(&record)).then(|| VersionedRecord {
        record: record.clone(),
        version: saved.and_then(|saved| saved.version.clone()),
    });
    actions.status = StatusUpdate::Accepted(Box::new(AcceptedRun {
        progress: progress::progress(input, &run, &record, &plan),
        run,
        record,
        plan,
        degradations,
        waiting: waits.wait,
    }));
    actions
}

/// Removes the entries of blocked stages that the plan no longer has, after a limit was reached for instance. A suspended run keeps them.
fn forget_unplanned(plan: &Plan, record: &mut RunRecord) {
    if plan.suspended.is_none() {
        let is_planned = |key: &str| plan.start.iter().any(|task| task.key == key);
        record.blocked.retain(|blocked| is_planned(&blocked.key));
    }
}

/// Returns the planned task of a Job, if its attempt counts. A blocked stage has no Job but its probe.
fn planned<'a>(plan: &'a Plan, record: &RunRecord, job: &ObservedJob) -> Option<&'a StageTask> {
    let mut planned = plan.start.iter();
    let task = planned.find(|task| identity_of(task).same_stage(&job.identity))?;
    let counts = match job.identity.purpose {
        Purpose::Probe => blocked::is_current(record, &job.identity),
        _ => {
            !record.is_blocked(&task.key)
                && job.identity.attempt >= record.first_attempt(&job.identity.key)
        }
    };
    counts.then_some(task)
}

/// Returns `job` as the spec makes it now.
fn recreated(common: Common<'_>, job: &ObservedJob, task: &StageTask) -> Job {
    let shards = job.shard_indexes.as_ref();
    let shards: Option<ShardSet> = shards.map(|shards| shards.iter().copied().collect());
    stage_job(common, &job.identity, task, shards.as_ref())
}

/// Applies edits of mutable fields to the record; returns a degradation for edits of immutable ones.
fn amend(
    input: &ReconcileInput<'_>,
    record: &mut RunRecord,
    live: Result<ValidRun, Vec<FieldError>>,
) -> Vec<Degradation> {
    let errors = match live {
        Ok(run) => record.amend_what_may_change(&run).1,
        Err(errors) => {
            record.spec.suspend = input.run.spec.suspend;
            errors
        }
    };
    if errors.is_empty() {
        return Vec::new();
    }
    let message = format!(
        "spec change ignored, continuing with the accepted spec: {}",
        joined(&errors)
    );
    vec![Degradation::new(reason::SPEC_DIFFERS_FROM_RECORD, message)]
}

fn unreadable(errors: &[FieldError]) -> Actions {
    let message = format!(
        "this version of the operator cannot execute the recorded spec: {}; use the version with which the run was accepted",
        joined(errors)
    );
    let degradation = Degradation::new(reason::RECORD_UNREADABLE, message);
    Actions::only(StatusUpdate::Unreadable(degradation))
}

/// Returns `errors` as one sentence.
pub(super) fn joined(errors: &[FieldError]) -> String {
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    errors.join("; ")
}

/// Returns the plan, pinned in the record, once all results of Jobs are recorded.
fn converged_plan(input: &ReconcileInput<'_>, run: &ValidRun, record: &mut RunRecord) -> Plan {
    loop {
        let (worker, gpu) = usage::uncounted(input, record);
        let observed = Observations {
            corrupted: record.corrupted(),
            failed: record.failed.clone().into_iter().collect(),
            running_millis: if record.worker.gpu { gpu } else { worker },
        };
        let next = plan(run, record, &observed, input.now_millis);
        record.pin(&next.pins);
        if !record_results::record_results(input, run, &next, record) {
            return next;
        }
    }
}

/// Adds the usage of ended Jobs to the record: at once if the record is saved anyway, otherwise before they are deleted.
fn count_usage(
    input: &ReconcileInput<'_>,
    record: &mut RunRecord,
    before: Option<&RunRecord>,
    deleted: &[Arc<ObservedJob>],
) {
    for job in deleted {
        usage::finalize_usage(input, record, job);
        // What a deleted Job found missing is outdated by then: the stage restarts with a seal.
        if job.identity.purpose.is_attempt() {
            record.restart_from(&job.identity.key, job.identity.attempt + 1);
        }
    }
    usage::count_removed_pods(input, record);
    let is_saved_anyway = before != Some(&*record);
    for job in &input.owned.jobs {
        let ended = job.finished_at_millis;
        let is_old = ended.is_some_and(|at| input.now_millis - at > COUNT_USAGE_AFTER_MILLIS);
        if job.is_terminating || job.has_ended() && (is_old || is_saved_anyway) {
            usage::finalize_usage(input, record, job);
        }
    }
    if before != Some(&*record) {
        usage::forget_deleted(input, record);
    }
}

/// Adds the next Job of each planned stage to `actions`.
fn start(
    input: &ReconcileInput<'_>,
    common: Common<'_>,
    run: &ValidRun,
    record: &RunRecord,
    plan: &Plan,
    actions: &mut Actions,
    degradations: &mut Vec<Degradation>,
) {
    let mut keys = BTreeSet::new();
    for task in &plan.start {
        // Of two stages with the same content key the first one computes it, and the other one reuses it.
        if !keys.insert(task.key.as_str()) {
            continue;
        }
        // A Job that is about to be deleted is replaced once it is gone.
        let identity = identity_of(task);
        if actions
            .delete
            .iter()
            .any(|job| job.identity.same_stage(&identity))
        {
            continue;
        }
        if record.is_blocked(&task.key) {
            blocked::start_probe(input, common, record, task, actions);
            continue;
        }
        let stage = StageJobs::new(input, run, record, task);
        if let Some(Blocked { cause, message }) = stage.transient()
            && record.blocked(&task.key).is_none()
        {
            let message = format!("{}: {message}; retrying", task.id);
            degradations.push(Degradation::new(cause.reason(), message));
        }
        let (starts, identity, shards) = match stage.next_action(input.now_millis) {
            NextAction::Start {
                identity,
                shard_indexes,
            } => (true, identity, shard_indexes),
            NextAction::Backoff { retry_at_millis } => {
                actions.requeue_in(retry_at_millis - input.now_millis);
                (false, identity_of(task), None)
            }
            _ => (false, identity_of(task), None),
        };
        // The pods of an active Job wait for its task if that was deleted.
        let needs_task = starts || stage.jobs.iter().any(|job| job.is_active());
        let map = missing_map(input, common, &identity, task_text(task)).filter(|_| needs_task);
        let job = starts.then(|| stage_job(common, &identity, task, shards.as_ref()));
        if map.is_some() || job.is_some() {
            actions.create.push(JobCreation { task: map, job });
        }
    }
}

/// Returns the active Jobs whose parallelism is not the spec's, with the latter. Kueue rejects such changes of queued Jobs.
fn resize(
    input: &ReconcileInput<'_>,
    run: &ValidRun,
    actions: &Actions,
) -> Vec<(Arc<ObservedJob>, i32)> {
    let jobs = input.owned.jobs.iter().cloned();
    jobs.filter(|job| run.spec().queue_name.is_none() && job.is_active())
        .filter(|job| actions.delete.iter().all(|other| other.uid != job.uid))
        .map(|job| {
            let wanted = parallelism(run.spec(), &job.identity).clamp(1, job.completions.max(1));
            (job, wanted)
        })
        .filter(|(job, wanted)| *wanted != job.parallelism)
        .collect()
}

/// Whether the time to live of a finished run is over.
fn expire(input: &ReconcileInput<'_>, run: &ValidRun, plan: &Plan, actions: &mut Actions) -> bool {
    let (Some(end), Some(ttl)) = (&plan.finished, run.spec().ttl_seconds_after_finished) else {
        return false;
    };
    let shown = match end {
        End::Complete => (COMPLETE, "True"),
        End::Failed(_) => (FAILED, "True"),
        End::Incomplete(_) => (PROGRESSING, "False"),
    };
    let status = input.run.status.iter();
    let mut conditions = status.flat_map(|status| &status.conditions);
    let ended = conditions
        .find(|each| (each.type_.as_str(), each.status.as_str()) == shown)
        .map(|each| millis(&each.last_transition_time));
    // It starts with the condition that shows the end.
    let Some(ended) = ended else { return false };
    actions.is_due(ended + i64::from(ttl) * 1000 - input.now_millis)
}

/// Requeues the run for what follows from the passing of time: deadline, budget, stuck pods, usage of ended Jobs.
fn schedule_requeue(
    input: &ReconcileInput<'_>,
    run: &ValidRun,
    record: &RunRecord,
    plan: &Plan,
    actions: &mut Actions,
) {
    let limits = run.limits();
    let works = !plan.start.is_empty();
    if let Some(seconds) = limits.deadline_seconds.filter(|_| works) {
        let left = record.accepted_at_millis + seconds.saturating_mul(1000) - input.now_millis;
        if left > 0 {
            actions.requeue_in(left + 500);
        }
    }
    let has_budget = limits.gpu_hours.is_some() || limits.cost.is_some();
    let mut pods = input.owned.pods.iter();
    let is_waiting = pods.any(|pod| {
        pod.started_at_millis.is_none() && pod.termination.is_none()
            || pod.deletion_timestamp_millis.is_some()
    });
    let jobs = || input.owned.jobs.iter();
    let has_none = jobs()
        .any(|job| !job.has_ended() && !job.is_suspended && job.active == 0 && job.succeeded == 0);
    if works && (has_budget || is_waiting || has_none) {
        actions.requeue_in(BUDGET_REQUEUE_MILLIS);
    }
    let uncounted = jobs()
        .filter(|job| job.identity.stage().is_some() && !record.counted.jobs.contains(&job.uid));
    if let Some(ended) = uncounted.filter_map(|job| job.finished_at_millis).min() {
        actions.requeue_in(ended + COUNT_USAGE_AFTER_MILLIS + 1000 - input.now_millis);
    }
}
