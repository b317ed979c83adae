//! What is in the way: Jobs that the plan does not want (any more), tasks of stages that are over.

use crate::cluster::names::Work;
use crate::cluster::observe::job::SeenJob;
use crate::cluster::observe::map::SeenMap;
use crate::plan::Plan;
use crate::record::RunRecord;

use super::stage::work_of;
use super::{Kind, Scene, Unwanted};

/// Jobs at work that the plan does not want. Ended ones stay for their logs until their time is over.
pub(super) fn jobs<'a>(scene: &Scene<'a>, record: &RunRecord, plan: &Plan) -> Vec<&'a SeenJob> {
    let is_wanted = |job: &SeenJob| {
        let counts = job.work.round >= record.first_round(&job.work.key);
        counts
            && plan
                .start
                .iter()
                .any(|task| work_of(task).is_beside(&job.work))
    };
    let jobs = scene.belongings.jobs.iter().map(AsRef::as_ref);
    jobs.filter(|job| !job.is_leaving && !job.has_ended() && !is_wanted(job))
        .collect()
}

/// Tasks of stages that the plan does not want.
pub(super) fn tasks(scene: &Scene<'_>, plan: &Plan) -> Vec<Unwanted> {
    let is_wanted = |work: &Work| plan.start.iter().any(|task| work_of(task).is_beside(work));
    of_maps(scene, |work| !is_wanted(work))
}

/// Every Job at work and every task.
pub(super) fn all(scene: &Scene<'_>) -> Vec<Unwanted> {
    let jobs = scene.belongings.jobs.iter();
    let jobs = jobs.filter(|job| !job.is_leaving && !job.has_ended());
    jobs.map(|job| unwanted_job(job))
        .chain(of_maps(scene, |_| true))
        .collect()
}

/// Every Job at work and every task but those of `work`.
pub(super) fn other_than(scene: &Scene<'_>, work: &Work) -> Vec<Unwanted> {
    let jobs = scene.belongings.jobs.iter();
    let jobs = jobs.filter(|job| !job.is_leaving && !job.has_ended() && !job.work.is_beside(work));
    jobs.map(|job| unwanted_job(job))
        .chain(of_maps(scene, |other| !other.is_beside(work)))
        .collect()
}

/// A Job to be deleted.
pub(super) fn unwanted_job(job: &SeenJob) -> Unwanted {
    Unwanted {
        kind: Kind::Job,
        name: job.name.clone(),
        uid: job.uid.clone(),
    }
}

fn of_maps(scene: &Scene<'_>, is_unwanted: impl Fn(&Work) -> bool) -> Vec<Unwanted> {
    let is_unwanted = |map: &SeenMap| map.work.as_ref().is_some_and(&is_unwanted);
    let maps = scene.belongings.maps.iter();
    maps.filter(|map| !map.is_leaving && map.record.is_none() && is_unwanted(map))
        .map(|map| Unwanted {
            kind: Kind::ConfigMap,
            name: map.name.clone(),
            uid: map.uid.clone(),
        })
        .collect()
}
