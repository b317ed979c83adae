//! Accepts a run or rejects its spec: a preflight Job checks what the spec refers to; the spec is then accepted for good, or rejected with all
//! errors.

use scalequest_crds::digest::sha256_hex;
use scalequest_crds::protocol::content_key::canonical;
use scalequest_crds::protocol::preflight::{FieldError, PreflightReport};
use scalequest_crds::v1alpha1::conditions::{ACCEPTED, reason};
use serde_json::Value;

use super::{
    Actions, JobCreation, ReconcileInput, StatusUpdate, advance, degradations, obsolete_jobs,
};
use crate::names::{JobIdentity, Purpose};
use crate::observe::job::{JobState, ObservedJob};
use crate::observe::pod::{ObservedPod, TerminationMessage};
use crate::resources::Owner;
use crate::resources::accelerator::stage_holds_accelerator;
use crate::resources::config_maps::spec_text;
use crate::resources::job::{Common, preflight};
use scalequest_core::record::amend::IMMUTABLE;
use scalequest_core::record::{RunRecord, WorkerIdentity};
use scalequest_core::status::conditions::{Degradation, status_of};
use scalequest_core::validate::{ValidRun, check_preflight};

/// Decides the actions for a run without a record.
pub(super) fn accept(
    input: &ReconcileInput<'_>,
    live: Result<ValidRun, Vec<FieldError>>,
) -> Actions {
    let run = match live {
        Ok(run) => run,
        Err(errors) => {
            let mut actions = reject(errors);
            actions.delete = obsolete_jobs::all(input);
            return actions;
        }
    };
    if run.spec().suspend {
        let mut actions = Actions::only(waiting(Vec::new()));
        actions.delete = obsolete_jobs::all(input);
        return actions;
    }
    let identity = JobIdentity {
        purpose: Purpose::Preflight,
        id: None,
        key: preflight_key(&run),
        attempt: 0,
    };
    let jobs = &input.owned.jobs;
    let job = jobs.iter().find(|job| job.identity.same_stage(&identity));
    let mut actions = match job {
        None => start_preflight(input, &run, &identity),
        Some(job) if job.is_terminating || !job.has_ended() => {
            let mut actions =
                Actions::only(unchanged_or_waiting(input, degradations::of_pods(input)));
            actions.requeue_in(15_000);
            actions
        }
        Some(job) => match outcome_of(input, &run, job) {
            Outcome::Valid(found) => {
                let record = RunRecord::new(&run, *found, worker(input, &run), input.now_millis);
                return advance::advance(input, record, None, Ok(run));
            }
            Outcome::Invalid(errors) => reject(errors),
            Outcome::Failed(degradation) => {
                Actions::only(unchanged_or_waiting(input, vec![degradation]))
            }
            Outcome::Lost => {
                let mut actions = Actions::only(unchanged_or_waiting(input, Vec::new()));
                actions.delete.push(obsolete_jobs::deletion(job));
                actions
            }
        },
    };
    actions
        .delete
        .extend(obsolete_jobs::all_but(input, &identity));
    actions
}

/// Outcome of a preflight Job.
enum Outcome {
    /// The run can be accepted.
    Valid(Box<PreflightReport>),
    /// It has errors.
    Invalid(Vec<FieldError>),
    /// The preflight itself failed.
    Failed(Degradation),
    /// Its report is lost.
    Lost,
}

fn outcome_of(input: &ReconcileInput<'_>, run: &ValidRun, job: &ObservedJob) -> Outcome {
    let pods = || {
        let pods = input.owned.pods.iter();
        pods.filter(|pod| pod.job == job.uid)
    };
    if let JobState::Failed { message, .. } = &job.state {
        let last = pods()
            .filter_map(|pod| pod.termination.as_ref())
            .filter(|end| end.code != Some(0))
            .max_by_key(|end| end.finished_at_millis);
        let message = last.map_or(message.clone(), |end| end.failure_message());
        return Outcome::Failed(Degradation::new(
            reason::WORKERS_FAILING,
            format!("preflight failed: {message}; retrying every few minutes"),
        ));
    }
    let report = |index: i64| {
        let reports = pods().filter(|pod: &&std::sync::Arc<ObservedPod>| pod.index == index);
        reports
            .filter_map(|pod| pod.termination.as_ref())
            .find_map(|end| match &end.message {
                TerminationMessage::Preflight(found) if end.code == Some(0) => {
                    Some((**found).clone())
                }
                _ => None,
            })
    };
    let reports: Option<Vec<PreflightReport>> =
        (0..i64::from(job.completions)).map(report).collect();
    let Some(reports) = reports else {
        return Outcome::Lost;
    };
    let found = PreflightReport::of_parts(run.spec(), reports);
    let errors = check_preflight(run, &found);
    if errors.is_empty() {
        Outcome::Valid(Box::new(found))
    } else {
        Outcome::Invalid(errors)
    }
}

fn start_preflight(input: &ReconcileInput<'_>, run: &ValidRun, identity: &JobIdentity) -> Actions {
    let owner = Owner::of(input.run);
    let worker = worker(input, run);
    let common = Common {
        owner: &owner,
        spec: run.spec(),
        worker: &worker,
        settings: input.settings,
    };
    let mut actions = Actions::only(unchanged_or_waiting(input, Vec::new()));
    actions.create.push(JobCreation {
        task: advance::missing_map(input, common, identity, spec_text(run.name(), run.spec())),
        job: Some(preflight(common, identity)),
    });
    actions
}

/// Returns the worker that an accepted run is pinned to.
fn worker(input: &ReconcileInput<'_>, run: &ValidRun) -> WorkerIdentity {
    let settings = input.settings;
    WorkerIdentity {
        version: env!("CARGO_PKG_VERSION").into(),
        image: Some(settings.worker_image.clone()),
        gpu_image: settings.worker_gpu_image.clone(),
        digest: None,
        gpu: scalequest_crds::v1alpha1::Stage::ALL
            .iter()
            .any(|stage| stage_holds_accelerator(run.spec(), *stage)),
    }
}

/// Returns the hash of the fields that a preflight checks: an edit of one of them needs a new preflight.
fn preflight_key(run: &ValidRun) -> String {
    let spec = serde_json::to_value(run.spec()).unwrap_or_default();
    let fields = IMMUTABLE.iter().chain(&["stores", "serviceAccountName"]);
    let fields_checked: serde_json::Map<String, Value> = fields
        .map(|field| ((*field).to_string(), spec[*field].clone()))
        .collect();
    sha256_hex(canonical(&Value::Object(fields_checked)).as_bytes())
}

fn reject(errors: Vec<FieldError>) -> Actions {
    Actions::only(StatusUpdate::NotAccepted {
        errors: Some(errors),
        degradations: Vec::new(),
    })
}

fn waiting(degradations: Vec<Degradation>) -> StatusUpdate {
    StatusUpdate::NotAccepted {
        errors: None,
        degradations,
    }
}

/// Returns the update while a preflight runs: the errors of a rejected spec stay in the status.
fn unchanged_or_waiting(
    input: &ReconcileInput<'_>,
    degradations: Vec<Degradation>,
) -> StatusUpdate {
    let status = input.run.status.as_ref();
    let is_invalid = status.is_some_and(|status| {
        status.observed_generation == input.run.metadata.generation
            && status_of(&status.conditions, ACCEPTED) == Some("False")
    });
    if is_invalid && degradations.is_empty() {
        StatusUpdate::Unchanged
    } else {
        waiting(degradations)
    }
}
