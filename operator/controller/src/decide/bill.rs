//! What work has taken, from the lifetimes of pods: each is charged once. A Job's pods are charged together when it has ended or is ended by
//! the operator, since until then they can be counted again; a pod that is removed while its Job goes on is charged by itself.

use std::sync::Arc;

use super::Scene;
use crate::names::Purpose;
use crate::observe::job::SeenJob;
use crate::observe::pod::SeenPod;
use scalequest_core::record::RunRecord;

/// Worker and GPU time of all that is not charged yet, in milliseconds.
pub(super) fn uncharged(scene: &Scene<'_>, record: &RunRecord) -> (i64, i64) {
    let jobs = scene.belongings.jobs.iter();
    let open = jobs.filter(|job| !record.charged.jobs.contains(&job.uid));
    let pods = open.flat_map(|job| pods(scene, record, job));
    pods.fold((0, 0), |(worker, gpu), pod| {
        let millis = pod.lifetime(scene.now_millis);
        (worker + millis, gpu + if pod.on_gpu { millis } else { 0 })
    })
}

/// Charges all pods of a Job, for good.
pub(super) fn settle(scene: &Scene<'_>, record: &mut RunRecord, job: &SeenJob) {
    let Some(stage) = job.work.stage() else {
        return;
    };
    if record.charged.jobs.contains(&job.uid) {
        return;
    }
    let mut has_run = false;
    for pod in pods(scene, record, job) {
        let millis = pod.lifetime(scene.now_millis);
        has_run |= pod.began_millis.is_some();
        let gpu = if pod.on_gpu { millis } else { 0 };
        record.charge_stage(stage, &job.work.key, millis, gpu);
    }
    if has_run && job.work.purpose != Purpose::Seal {
        mark_computed(record, job);
    }
    record.charged.jobs.insert(job.uid.clone());
}

/// Charges pods that are being removed while their Job goes on, and forgets the ids of what is gone; whether anything was charged.
pub(super) fn charge_removed(scene: &Scene<'_>, record: &mut RunRecord) -> bool {
    let mut any = false;
    for job in &scene.belongings.jobs {
        if job.has_ended() || job.is_leaving || record.charged.jobs.contains(&job.uid) {
            continue;
        }
        let Some(stage) = job.work.stage() else {
            continue;
        };
        for pod in pods(scene, record, job) {
            if pod.leaving_millis.is_none() || pod.ended.is_none() || pod.began_millis.is_none() {
                continue;
            }
            let millis = pod.lifetime(scene.now_millis);
            let gpu = if pod.on_gpu { millis } else { 0 };
            record.charge_stage(stage, &job.work.key, millis, gpu);
            record.charged.pods.insert(pod.uid.clone());
            any = true;
        }
    }
    any
}

/// Forgets the ids of what is gone: it never comes back.
pub(super) fn forget_gone(scene: &Scene<'_>, record: &mut RunRecord) {
    let belongings = scene.belongings;
    let charged = &mut record.charged;
    charged
        .jobs
        .retain(|uid| belongings.jobs.iter().any(|job| job.uid == *uid));
    charged
        .pods
        .retain(|uid| belongings.pods.iter().any(|pod| pod.uid == *uid));
}

/// The pods of a Job that were not charged by themselves.
fn pods<'a>(scene: &Scene<'a>, record: &RunRecord, job: &SeenJob) -> Vec<&'a Arc<SeenPod>> {
    let pods = scene.belongings.pods.iter();
    pods.filter(|pod| pod.job == job.uid && !record.charged.pods.contains(&pod.uid))
        .collect()
}

fn mark_computed(record: &mut RunRecord, job: &SeenJob) {
    let work = &job.work;
    let stage = record
        .stages
        .iter_mut()
        .find(|stage| stage.key == work.key && Some(&stage.id) == work.id.as_ref());
    if let Some(stage) = stage {
        stage.computed = true;
    }
}
