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
            let mut actions = refuse(errors);
            actions.delete = obsolete_jobs::all(input);
            return actions;
        }
    };
    if run.spec().suspend {
        let mut actions = Actions::only(waiting(Vec::new()));
        actions.delete = obsolete_jobs::all(input);
        return actions;
    }
    let work = JobIdentity {
        purpose: Purpose::Inspect,
        id: None,
        key: subject(&run),
        attempt: 0,
    };
    let jobs = &input.owned.jobs;
    let job = jobs.iter().find(|job| job.identity.same_stage(&work));
    let mut actions = match job {
        None => inspect(input, &run, &work),
        Some(job) if job.is_terminating || !job.has_ended() => {
            let mut actions =
                Actions::only(unchanged_or_waiting(input, degradations::of_pods(input)));
            actions.requeue_in(15_000);
            actions
        }
        Some(job) => match judge(input, &run, job) {
            Verdict::Sound(found) => {
                let record = RunRecord::new(&run, *found, worker(input, &run), input.now_millis);
                return advance::advance(input, record, None, Ok(run));
            }
            Verdict::Faulty(errors) => refuse(errors),
            Verdict::Unknown(degradation) => {
                Actions::only(unchanged_or_waiting(input, vec![degradation]))
            }
            Verdict::Lost => {
                let mut actions = Actions::only(unchanged_or_waiting(input, Vec::new()));
                actions.delete.push(obsolete_jobs::deletion(job));
                actions
            }
        },
    };
    actions.delete.extend(obsolete_jobs::all_but(input, &work));
    actions
}

/// What a preflight has found.
enum Verdict {
    /// The run can be accepted.
    Sound(Box<PreflightReport>),
    /// It has errors.
    Faulty(Vec<FieldError>),
    /// The preflight itself did not work.
    Unknown(Degradation),
    /// Its report is lost.
    Lost,
}

fn judge(input: &ReconcileInput<'_>, run: &ValidRun, job: &ObservedJob) -> Verdict {
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
        return Verdict::Unknown(Degradation::new(
            reason::WORKERS_FAILING,
            format!(
                "the preflight of the spec failed: {message}; it is tried again every few minutes"
            ),
        ));
    }
    let answer = |index: i64| {
        let answers = pods().filter(|pod: &&std::sync::Arc<ObservedPod>| pod.index == index);
        answers
            .filter_map(|pod| pod.termination.as_ref())
            .find_map(|end| match &end.message {
                TerminationMessage::Preflight(found) if end.code == Some(0) => {
                    Some((**found).clone())
                }
                _ => None,
            })
    };
    let answers: Option<Vec<PreflightReport>> =
        (0..i64::from(job.completions)).map(answer).collect();
    let Some(answers) = answers else {
        return Verdict::Lost;
    };
    let found = PreflightReport::of_parts(run.spec(), answers);
    let errors = check_preflight(run, &found);
    if errors.is_empty() {
        Verdict::Sound(Box::new(found))
    } else {
        Verdict::Faulty(errors)
    }
}

fn inspect(input: &ReconcileInput<'_>, run: &ValidRun, work: &JobIdentity) -> Actions {
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
        task: advance::missing_map(input, common, work, spec_text(run.name(), run.spec())),
        job: Some(preflight(common, work)),
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

/// The hash of what a preflight looks at: another spec in these fields is looked at anew.
fn subject(run: &ValidRun) -> String {
    let spec = serde_json::to_value(run.spec()).unwrap_or_default();
    let fields = IMMUTABLE.iter().chain(&["stores", "serviceAccountName"]);
    let fields_checked: serde_json::Map<String, Value> = fields
        .map(|field| ((*field).to_string(), spec[*field].clone()))
        .collect();
    sha256_hex(canonical(&Value::Object(fields_checked)).as_bytes())
}

fn refuse(errors: Vec<FieldError>) -> Actions {
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
    let is_refused = status.is_some_and(|status| {
        status.observed_generation == input.run.metadata.generation
            && status_of(&status.conditions, ACCEPTED) == Some("False")
    });
    if is_refused && degradations.is_empty() {
        StatusUpdate::Unchanged
    } else {
        waiting(degradations)
    }
}
