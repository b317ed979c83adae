//! A run on record: what its Jobs have said is taken up, the plan is made, and what runs is made equal to it.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ConfigMap;
use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::v1alpha1::SynthesisRun;
use scalequest_crds::v1alpha1::conditions::{COMPLETE, FAILED, reason};

use super::persist::{Saved, collect, persist};
use super::stage::{Look, Start, work_of};
use super::{
    AcceptedRun, Creation, Resize, Scene, Shown, Step, bill, progress, take_up, tidy, troubles,
};
use crate::names::{Purpose, Work};
use crate::observe::job::millis;
use crate::resources::Owner;
use crate::resources::job::{Common, parallelism, source, stage as stage_job};
use crate::resources::maps::{task_map, task_text};
use crate::resources::task::TaskSource;
use scalequest_core::plan::{End, Observed, Plan, plan};
use scalequest_core::record::RunRecord;
use scalequest_core::status::conditions::Trouble;
use scalequest_core::validate::{Environment, ValidRun, validate};

/// Time after its end when a Job is charged though nothing else is to be saved: well before it is cleared away.
const CHARGE_AFTER_MILLIS: i64 = 300_000;

/// Time between two looks at a run that has a limit on what it spends and spends it.
const SPENDING_LOOK_MILLIS: i64 = 30_000;

/// Decides what is done for a run with a record. `saved`: the record as it is persisted, `None` if it is new.
pub(super) fn go_on(
    scene: &Scene<'_>,
    mut record: RunRecord,
    saved: Option<&Saved>,
    live: Result<ValidRun, Vec<FieldError>>,
) -> Step {
    let mut troubles = amend(scene, &mut record, live);
    let run = SynthesisRun::new(&record.name, record.spec.clone());
    let run = match validate(&run, Environment::Cluster) {
        Ok(run) => run,
        Err(errors) => return unreadable(&errors),
    };
    let plan = settled_plan(scene, &run, &mut record);

    let unwanted = tidy::jobs(scene, &record, &plan);
    charge(
        scene,
        &mut record,
        saved.map(|saved| &saved.record),
        &unwanted,
    );
    let mut step = Step::only(Shown::AsBefore);
    step.delete = unwanted.into_iter().map(tidy::unwanted_job).collect();
    start(scene, &run, &record, &plan, &mut step, &mut troubles);
    step.resize = resize(scene, &run, &step);
    step.remove_run = expire(scene, &run, &plan, &mut step);
    troubles.extend(troubles::of_pods(scene));
    when_to_look(scene, &run, &record, &plan, &mut step);

    step.save = persist(saved, &record);
    if let Some(saved) = saved {
        collect(scene, &saved.record, &mut step);
    }
    step.shown = Shown::Accepted(Box::new(AcceptedRun {
        progress: progress::progress(scene, &record, &plan),
        run,
        record,
        plan,
        troubles,
    }));
    step
}

/// Takes up what was edited and may be.
fn amend(
    scene: &Scene<'_>,
    record: &mut RunRecord,
    live: Result<ValidRun, Vec<FieldError>>,
) -> Vec<Trouble> {
    let errors = match live {
        Ok(run) => record.amend_what_may_change(&run).1,
        Err(errors) => {
            record.spec.suspend = scene.run.spec.suspend;
            errors
        }
    };
    if errors.is_empty() {
        return Vec::new();
    }
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    vec![Trouble::new(
        reason::SPEC_DIFFERS_FROM_RECORD,
        format!("the run goes on as it is on record: {}", errors.join("; ")),
    )]
}

fn unreadable(errors: &[FieldError]) -> Step {
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Step::only(Shown::Unreadable(Trouble::new(
        reason::RECORD_UNREADABLE,
        format!(
            "the spec on record is none that this version of the operator can carry out: {}; use the version with which the run was accepted",
            errors.join("; ")
        ),
    )))
}

/// The plan, pinned, once everything that Jobs have said is taken up.
fn settled_plan(scene: &Scene<'_>, run: &ValidRun, record: &mut RunRecord) -> Plan {
    loop {
        let (worker, gpu) = bill::uncharged(scene, record);
        let observed = Observed {
            damaged: record.damaged(),
            failed: record.failure().into_iter().collect(),
            running_millis: if record.worker.gpu { gpu } else { worker },
        };
        let next = plan(run, record, &observed, scene.now_millis);
        record.pin(&next.pins);
        if !take_up::take_up(scene, run, &next, record) {
            return next;
        }
    }
}

/// Charges what is over: at once where the record is saved anyway, and before it is cleared away.
fn charge(
    scene: &Scene<'_>,
    record: &mut RunRecord,
    before: Option<&RunRecord>,
    unwanted: &[&crate::observe::job::SeenJob],
) {
    for job in unwanted {
        bill::settle(scene, record, job);
        // What was found missing before it is ended early is old by then: the stage begins with a seal.
        if job.work.stage().is_some() {
            record.begin_again(&job.work.key, job.work.round + 1);
        }
    }
    bill::charge_removed(scene, record);
    let is_saved_anyway = before != Some(&*record);
    for job in &scene.belongings.jobs {
        let is_old = job
            .ended_millis
            .is_some_and(|at| scene.now_millis - at > CHARGE_AFTER_MILLIS);
        if job.is_leaving || job.has_ended() && (is_old || is_saved_anyway) {
            bill::settle(scene, record, job);
        }
    }
    if before != Some(&*record) {
        bill::forget_gone(scene, record);
    }
}

/// What is to be started: for each stage that the plan wants, its next Job.
fn start(
    scene: &Scene<'_>,
    run: &ValidRun,
    record: &RunRecord,
    plan: &Plan,
    step: &mut Step,
    troubles: &mut Vec<Trouble>,
) {
    let owner = Owner::of(scene.run);
    let common = Common {
        owner: &owner,
        spec: run.spec(),
        worker: &record.worker,
        settings: scene.settings,
    };
    let mut keys = BTreeSet::new();
    for task in &plan.start {
        // Of two stages with the same content the first one makes it, and the other finds it made.
        if !keys.insert(task.key.as_str()) {
            continue;
        }
        let next = match take_up::look(scene, record, task) {
            Look::Start(start) => Some(start),
            Look::Later { at_millis, message } => {
                troubles.push(Trouble::new(
                    reason::WORKERS_FAILING,
                    format!("{}: {message}; it is tried again", task.id),
                ));
                let left = at_millis - scene.now_millis;
                if left > 0 {
                    step.wants_a_look_in(left);
                }
                (left <= 0).then(|| Start {
                    purpose: Purpose::Seal,
                    round: take_up::stage_of(scene, record, task).next_round(),
                    among: None,
                })
            }
            _ => None,
        };
        let work = Work {
            purpose: next.as_ref().map_or(Purpose::Seal, |next| next.purpose),
            round: next.as_ref().map_or(0, |next| next.round),
            ..work_of(task)
        };
        let map = missing_map(scene, common, &work, task_text(task));
        let is_at_work = || {
            let jobs = scene.belongings.jobs.iter();
            let beside = jobs.filter(|job| job.work.same_stage(&work));
            beside
                .into_iter()
                .any(|job| !job.has_ended() && !job.is_leaving)
        };
        if next.is_none() && (map.is_none() || !is_at_work()) {
            continue;
        }
        step.create.push(Creation {
            task: map,
            job: next.map(|next| stage_job(common, &work, task, next.among.as_ref())),
        });
    }
}

/// The ConfigMap with the task of `work`, where its pods do not carry it and it is not there.
pub(super) fn missing_map(
    scene: &Scene<'_>,
    common: Common<'_>,
    work: &Work,
    text: String,
) -> Option<ConfigMap> {
    match source(common, work, text.clone()) {
        TaskSource::Annotation(_) => None,
        TaskSource::ConfigMap(name) => {
            let mut maps = scene.belongings.maps.iter();
            let is_there = maps.any(|map| map.name == name && !map.is_leaving);
            (!is_there).then(|| task_map(common.owner, work, text))
        }
    }
}

/// Jobs at work whose number of pods is not the spec's. Kueue refuses such changes of Jobs in its queues.
fn resize(scene: &Scene<'_>, run: &ValidRun, step: &Step) -> Vec<Resize> {
    if run.spec().queue_name.is_some() {
        return Vec::new();
    }
    let jobs = scene.belongings.jobs.iter();
    jobs.filter(|job| !job.is_leaving && !job.has_ended())
        .filter(|job| step.delete.iter().all(|unwanted| unwanted.uid != job.uid))
        .filter_map(|job| {
            let wanted = parallelism(run.spec(), &job.work).clamp(1, job.completions.max(1));
            (wanted != job.parallelism).then(|| Resize {
                name: job.name.clone(),
                uid: job.uid.clone(),
                parallelism: wanted,
            })
        })
        .collect()
}

/// Whether a run that is over has been kept long enough.
fn expire(scene: &Scene<'_>, run: &ValidRun, plan: &Plan, step: &mut Step) -> bool {
    let is_over = matches!(plan.finished, Some(End::Complete | End::Failed(_)));
    let Some(ttl) = run.spec().ttl_seconds_after_finished.filter(|_| is_over) else {
        return false;
    };
    let conditions = scene
        .run
        .status
        .iter()
        .flat_map(|status| &status.conditions);
    let ended = conditions
        .filter(|each| [COMPLETE, FAILED].contains(&each.type_.as_str()) && each.status == "True")
        .map(|each| millis(&each.last_transition_time))
        .min();
    // Before the end is shown it is not over.
    let Some(ended) = ended else { return false };
    let left = ended + i64::from(ttl) * 1000 - scene.now_millis;
    if left > 0 {
        step.wants_a_look_in(left);
    }
    left <= 0
}

/// When something may follow from the mere passing of time.
fn when_to_look(
    scene: &Scene<'_>,
    run: &ValidRun,
    record: &RunRecord,
    plan: &Plan,
    step: &mut Step,
) {
    let limits = run.limits();
    let works = !plan.start.is_empty();
    if let Some(seconds) = limits.deadline_seconds.filter(|_| works) {
        let left = record.accepted_at_millis + seconds.saturating_mul(1000) - scene.now_millis;
        if left > 0 {
            step.wants_a_look_in(left + 500);
        }
    }
    let has_budget = limits.gpu_hours.is_some() || limits.cost.is_some();
    let is_waiting = scene.belongings.pods.iter().any(|pod| {
        pod.began_millis.is_none() && pod.ended.is_none() || pod.leaving_millis.is_some()
    });
    let has_none =
        scene.belongings.jobs.iter().any(|job| {
            !job.has_ended() && !job.is_suspended && job.active == 0 && job.succeeded == 0
        });
    if works && (has_budget || is_waiting || has_none) {
        step.wants_a_look_in(SPENDING_LOOK_MILLIS);
    }
    let uncharged = scene
        .belongings
        .jobs
        .iter()
        .filter(|job| job.work.stage().is_some() && !record.charged.jobs.contains(&job.uid))
        .filter_map(|job| job.ended_millis)
        .min();
    if let Some(ended) = uncharged {
        step.wants_a_look_in(ended + CHARGE_AFTER_MILLIS + 1000 - scene.now_millis);
    }
}
