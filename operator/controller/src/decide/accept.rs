//! Accepts a run or rejects its spec: a preflight Job checks what the spec refers to; the spec is then accepted for good, or rejected with all
//! errors.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use scalequest_crds::digest::sha256_hex;
use scalequest_crds::protocol::content_key::canonical;
use scalequest_crds::protocol::preflight::{FieldError, PreflightReport};
use scalequest_crds::v1alpha1::Stage;
use scalequest_crds::v1alpha1::conditions::{ACCEPTED, reason};
use serde_json::Value;

use super::obsolete_jobs::{is_outdated, obsolete};
use super::task_maps::missing_map;
use super::waits::{Waits, waits};
use super::{Actions, JobCreation, ReconcileInput, StatusUpdate, advance};
use crate::names::{JobIdentity, Purpose, RETRY};
use crate::observe::job::{JobState, ObservedJob};
use crate::observe::pod::last_failure;
use crate::observe::termination::{Termination, TerminationMessage};
use crate::resources::accelerator::stage_holds_accelerator;
use crate::resources::config_maps::spec_text;
use crate::resources::dry_run::dry_run_pods;
use crate::resources::job::preflight;
use crate::resources::{Common, Owner};
use scalequest_core::record::amend::IMMUTABLE;
use scalequest_core::record::{RunRecord, WorkerIdentity};
use scalequest_core::retry::{Backoff, INFRASTRUCTURE_BACKOFF, PREFLIGHT_BACKOFF};
use scalequest_core::status::conditions::{Degradation, status_of};
use scalequest_core::validate::{ValidRun, check_preflight};

/// Requeue interval while a preflight runs.
const REQUEUE_MILLIS: i64 = 15_000;

/// Decides the actions for a run without a record.
pub(super) fn accept(
    input: &ReconcileInput<'_>,
    live: Result<ValidRun, Vec<FieldError>>,
) -> Actions {
    let run = match live {
        Ok(run) if run.spec().suspend => return stop(input, validating(Waits::default())),
        Ok(run) => run,
        Err(errors) => return stop(input, rejected(errors)),
    };
    let first = JobIdentity {
        purpose: Purpose::Preflight,
        id: None,
        key: preflight_key(input, &run),
        attempt: 0,
    };
    let is_latest = |job: &&Arc<ObservedJob>| job.identity.same_stage(&first);
    let latest = input.owned.jobs.iter().rfind(is_latest);
    let mut actions = match latest {
        None => start_preflight(input, &run, &first),
        Some(job) if is_outdated(input, job, || Some(preflight_job(input, &run, job))) => Actions {
            delete: vec![job.clone()],
            ..unchanged_or_validating(input, Waits::default())
        },
        Some(job) if job.is_terminating || !job.has_ended() => {
            unchanged_or_validating(input, waits(input))
        }
        Some(job) => match (&job.state, reports(input, job)) {
            (JobState::Failed { message }, _) => {
                let failed = validating(Waits {
                    degradations: vec![failed_preflight(input, job, message)],
                    ..Waits::default()
                });
                repeat(input, &run, job, INFRASTRUCTURE_BACKOFF, failed)
            }
            (_, Some(reports)) => {
                let found = PreflightReport::of_parts(run.spec(), reports);
                let errors = check_preflight(&run, &found);
                if errors.is_empty() {
                    let worker = worker(input, &run);
                    let record = RunRecord::new(&run, found, worker, input.now_millis);
                    return advance::advance(input, record, None, Ok(run));
                }
                repeat(input, &run, job, PREFLIGHT_BACKOFF, rejected(errors))
            }
            // A report is lost.
            (_, None) => Actions {
                delete: vec![job.clone()],
                ..unchanged_or_validating(input, Waits::default())
            },
        },
    };
    let others = obsolete(input, |job| job.identity.same_stage(&first));
    actions.delete.extend(others);
    actions
}

/// Returns the actions after a preflight that did not accept the run: another attempt once the backoff is over.
fn repeat(
    input: &ReconcileInput<'_>,
    run: &ValidRun,
    job: &ObservedJob,
    backoff: Backoff,
    status: StatusUpdate,
) -> Actions {
    let mut actions = Actions::only(status);
    let failures = u32::try_from(job.identity.attempt + 1).unwrap_or(u32::MAX);
    let backoff = i64::try_from(backoff.delay(failures).as_millis()).unwrap_or(i64::MAX);
    let ended = job.finished_at_millis.unwrap_or(job.created_at_millis);
    if actions.is_due(ended + backoff - input.now_millis) {
        let next = JobIdentity {
            attempt: job.identity.attempt + 1,
            ..job.identity.clone()
        };
        let start = start_preflight(input, run, &next);
        (actions.dry_run, actions.create) = (start.dry_run, start.create);
    }
    actions
}

/// Returns the actions for a run that needs no Job.
fn stop(input: &ReconcileInput<'_>, status: StatusUpdate) -> Actions {
    Actions {
        delete: obsolete(input, |_| false),
        ..Actions::only(status)
    }
}

/// Returns the degradation of a preflight that itself failed. `message`: that of the Job controller, if no worker has one.
fn failed_preflight(input: &ReconcileInput<'_>, job: &ObservedJob, message: &str) -> Degradation {
    let last = last_failure(input.owned.pods_of(job));
    let message = last.map_or(message.into(), Termination::failure_message);
    Degradation::new(
        reason::WORKERS_FAILING,
        format!("preflight failed: {message}; retrying with backoff"),
    )
}

/// Returns the reports of all parts of a preflight, or `None` if one is lost.
fn reports(input: &ReconcileInput<'_>, job: &ObservedJob) -> Option<Vec<PreflightReport>> {
    let report = |index: i64| {
        let pods = input.owned.pods_of(job).filter(|pod| pod.index == index);
        let mut ends = pods.filter_map(|pod| pod.termination.as_ref());
        ends.find_map(|end| match &end.message {
            TerminationMessage::Preflight(found) if end.code == Some(0) => Some((**found).clone()),
            _ => None,
        })
    };
    (0..i64::from(job.completions)).map(report).collect()
}

fn start_preflight(input: &ReconcileInput<'_>, run: &ValidRun, identity: &JobIdentity) -> Actions {
    let text = spec_text(run.name(), run.spec());
    let (dry_run, creation) = with_common(input, run, |common| {
        let creation = JobCreation {
            task: missing_map(input, common, identity, text),
            job: Some(preflight(common, identity)),
        };
        (dry_run_pods(common), creation)
    });
    Actions {
        dry_run,
        create: vec![creation],
        ..unchanged_or_validating(input, Waits::default())
    }
}

/// Returns `job` as the spec makes it now.
fn preflight_job(input: &ReconcileInput<'_>, run: &ValidRun, job: &ObservedJob) -> Job {
    with_common(input, run, |common| preflight(common, &job.identity))
}

fn with_common<T>(
    input: &ReconcileInput<'_>,
    run: &ValidRun,
    build: impl FnOnce(Common<'_>) -> T,
) -> T {
    build(Common {
        owner: &Owner::of(input.run),
        spec: run.spec(),
        worker: &worker(input, run),
        settings: input.settings,
    })
}

/// Returns the worker that an accepted run is pinned to.
fn worker(input: &ReconcileInput<'_>, run: &ValidRun) -> WorkerIdentity {
    let holds_accelerator = |stage: &Stage| stage_holds_accelerator(run.spec(), *stage);
    WorkerIdentity {
        version: env!("CARGO_PKG_VERSION").into(),
        image: Some(input.settings.worker_image.clone()),
        gpu_image: input.settings.worker_gpu_image.clone(),
        digest: None,
        gpu: Stage::ALL.iter().any(holds_accelerator),
    }
}

/// Returns the hash of the fields that a preflight checks, and of the annotation that asks for another: an edit of one of them needs a new
/// preflight, at once.
fn preflight_key(input: &ReconcileInput<'_>, run: &ValidRun) -> String {
    let spec = serde_json::to_value(run.spec()).unwrap_or_default();
    let fields = IMMUTABLE.iter().chain(&["stores", "serviceAccountName"]);
    let mut checked: Value = fields
        .map(|field| ((*field).to_string(), spec[*field].clone()))
        .collect();
    if let Some(retry) = input.run.annotations().get(RETRY) {
        checked[RETRY] = retry.clone().into();
    }
    sha256_hex(canonical(&checked).as_bytes())
}

fn rejected(errors: Vec<FieldError>) -> StatusUpdate {
    StatusUpdate::NotAccepted {
        errors: Some(errors),
        degradations: Vec::new(),
        waiting: None,
    }
}

fn validating(waits: Waits) -> StatusUpdate {
    StatusUpdate::NotAccepted {
        errors: None,
        degradations: waits.degradations,
        waiting: waits.wait,
    }
}

/// Returns the actions while a preflight runs: the errors of a rejected spec stay in the status.
fn unchanged_or_validating(input: &ReconcileInput<'_>, waits: Waits) -> Actions {
    let status = input.run.status.as_ref();
    let is_invalid = status.is_some_and(|status| {
        status.observed_generation == input.run.metadata.generation
            && status_of(&status.conditions, ACCEPTED) == Some("False")
    });
    let changes_in_millis = waits.changes_in_millis;
    let is_waiting = waits.wait.is_some() || !waits.degradations.is_empty();
    let mut actions = Actions::only(match is_invalid && !is_waiting {
        true => StatusUpdate::Unchanged,
        false => validating(waits),
    });
    actions.requeue_in(
        changes_in_millis
            .unwrap_or(REQUEUE_MILLIS)
            .min(REQUEUE_MILLIS),
    );
    actions
}
