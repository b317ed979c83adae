//! What is in the way: Jobs that the plan does not want (any more).

use crate::names::Work;
use crate::observe::job::SeenJob;
use scalequest_core::plan::Plan;
use scalequest_core::record::RunRecord;

use super::stage::work_of;
use super::{Scene, Unwanted};

/// Jobs at work that the plan does not want. Ended ones stay for their logs until their time is over.
pub(super) fn jobs<'a>(scene: &Scene<'a>, record: &RunRecord, plan: &Plan) -> Vec<&'a SeenJob> {
    let is_wanted = |job: &SeenJob| {
        let counts = job.work.round >= record.first_round(&job.work.key);
        counts
            && plan
                .start
                .iter()
                .any(|task| work_of(task).same_stage(&job.work))
    };
    let jobs = scene.belongings.jobs.iter().map(AsRef::as_ref);
    jobs.filter(|job| !job.is_leaving && !job.has_ended() && !is_wanted(job))
        .collect()
}

/// Every Job at work.
pub(super) fn all(scene: &Scene<'_>) -> Vec<Unwanted> {
    other_than(scene, |_| false)
}

/// Every Job at work but those of `work`.
pub(super) fn beside(scene: &Scene<'_>, work: &Work) -> Vec<Unwanted> {
    other_than(scene, |job| job.work.same_stage(work))
}

fn other_than(scene: &Scene<'_>, is_wanted: impl Fn(&SeenJob) -> bool) -> Vec<Unwanted> {
    let jobs = scene.belongings.jobs.iter();
    jobs.filter(|job| !job.is_leaving && !job.has_ended() && !is_wanted(job))
        .map(|job| unwanted_job(job))
        .collect()
}

/// A Job to be deleted.
pub(super) fn unwanted_job(job: &SeenJob) -> Unwanted {
    Unwanted {
        name: job.name.clone(),
        uid: job.uid.clone(),
    }
}
