//! Before a run is on record: what its spec refers to is looked at by a Job, and then it is refused with every error, or accepted for good.

use scalequest_crds::digest::sha256_hex;
use scalequest_crds::protocol::content_key::canonical;
use scalequest_crds::protocol::preflight::{FieldError, PreflightReport};
use scalequest_crds::v1alpha1::conditions::{ACCEPTED, reason};
use serde_json::Value;

use super::{Creation, Scene, Shown, Step, go_on, tidy, troubles};
use crate::names::{Purpose, Work};
use crate::observe::job::{JobState, SeenJob};
use crate::observe::pod::{Said, SeenPod};
use crate::resources::Owner;
use crate::resources::accelerator::stage_holds_accelerator;
use crate::resources::job::{Common, preflight};
use crate::resources::maps::spec_text;
use scalequest_core::record::amend::IMMUTABLE;
use scalequest_core::record::{RunRecord, WorkerIdentity};
use scalequest_core::status::conditions::{Trouble, status_of};
use scalequest_core::validate::{ValidRun, check_preflight};

/// What is to be done for a run without a record.
pub(super) fn accept(scene: &Scene<'_>, live: Result<ValidRun, Vec<FieldError>>) -> Step {
    let run = match live {
        Ok(run) => run,
        Err(errors) => {
            let mut step = refuse(errors);
            step.delete = tidy::all(scene);
            return step;
        }
    };
    if run.spec().suspend {
        let mut step = Step::only(waiting(Vec::new()));
        step.delete = tidy::all(scene);
        return step;
    }
    let work = Work {
        purpose: Purpose::Inspect,
        id: None,
        key: subject(&run),
        round: 0,
    };
    let jobs = &scene.belongings.jobs;
    let job = jobs.iter().find(|job| job.work.same_stage(&work));
    let mut step = match job {
        None => inspect(scene, &run, &work),
        Some(job) if job.is_leaving || !job.has_ended() => {
            let mut step = Step::only(as_before_or_waiting(scene, troubles::of_pods(scene)));
            step.wants_a_look_in(15_000);
            step
        }
        Some(job) => match judge(scene, &run, job) {
            Verdict::Sound(found) => {
                let record = RunRecord::new(&run, *found, worker(scene, &run), scene.now_millis);
                return go_on::go_on(scene, record, None, Ok(run));
            }
            Verdict::Faulty(errors) => refuse(errors),
            Verdict::Unknown(trouble) => Step::only(as_before_or_waiting(scene, vec![trouble])),
            Verdict::Lost => {
                let mut step = Step::only(as_before_or_waiting(scene, Vec::new()));
                step.delete.push(tidy::unwanted_job(job));
                step
            }
        },
    };
    step.delete.extend(tidy::beside(scene, &work));
    step
}

/// What a preflight has found.
enum Verdict {
    /// The run can be accepted.
    Sound(Box<PreflightReport>),
    /// It cannot.
    Faulty(Vec<FieldError>),
    /// The preflight itself did not work.
    Unknown(Trouble),
    /// Its answer is gone.
    Lost,
}

fn judge(scene: &Scene<'_>, run: &ValidRun, job: &SeenJob) -> Verdict {
    let pods = || {
        let pods = scene.belongings.pods.iter();
        pods.filter(|pod| pod.job == job.uid)
    };
    if let JobState::Failed { message, .. } = &job.state {
        let last = pods()
            .filter_map(|pod| pod.ended.as_ref())
            .filter(|end| end.code != Some(0))
            .max_by_key(|end| end.at_millis);
        let words = last.map_or(message.clone(), |end| end.message());
        return Verdict::Unknown(Trouble::new(
            reason::WORKERS_FAILING,
            format!(
                "the preflight of the spec failed: {words}; it is tried again every few minutes"
            ),
        ));
    }
    let answer = |index: i64| {
        let answers = pods().filter(|pod: &&std::sync::Arc<SeenPod>| pod.index == index);
        answers
            .filter_map(|pod| pod.ended.as_ref())
            .find_map(|end| match &end.said {
                Said::Found(found) if end.code == Some(0) => Some((**found).clone()),
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

fn inspect(scene: &Scene<'_>, run: &ValidRun, work: &Work) -> Step {
    let owner = Owner::of(scene.run);
    let worker = worker(scene, run);
    let common = Common {
        owner: &owner,
        spec: run.spec(),
        worker: &worker,
        settings: scene.settings,
    };
    let mut step = Step::only(as_before_or_waiting(scene, Vec::new()));
    step.create.push(Creation {
        task: go_on::missing_map(scene, common, work, spec_text(run.name(), run.spec())),
        job: Some(preflight(common, work)),
    });
    step
}

/// The worker with which a run is accepted now.
fn worker(scene: &Scene<'_>, run: &ValidRun) -> WorkerIdentity {
    let settings = scene.settings;
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
    let looked_at: serde_json::Map<String, Value> = fields
        .map(|field| ((*field).to_string(), spec[*field].clone()))
        .collect();
    sha256_hex(canonical(&Value::Object(looked_at)).as_bytes())
}

fn refuse(errors: Vec<FieldError>) -> Step {
    Step::only(Shown::NotAccepted {
        refused: Some(errors),
        troubles: Vec::new(),
    })
}

fn waiting(troubles: Vec<Trouble>) -> Shown {
    Shown::NotAccepted {
        refused: None,
        troubles,
    }
}

/// While a refused spec is looked at again, the refusal stays on show.
fn as_before_or_waiting(scene: &Scene<'_>, troubles: Vec<Trouble>) -> Shown {
    let status = scene.run.status.as_ref();
    let is_refused = status.is_some_and(|status| {
        status.observed_generation == scene.run.metadata.generation
            && status_of(&status.conditions, ACCEPTED) == Some("False")
    });
    if is_refused && troubles.is_empty() {
        Shown::AsBefore
    } else {
        waiting(troubles)
    }
}
