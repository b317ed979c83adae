//! Usage from the lifetimes of pods, each counted once. A Job's pods are counted together when it has ended or is deleted by the controller,
//! since until then they can be observed again; a pod that is deleted while its Job is active is counted by itself.

use std::sync::Arc;

use super::ReconcileInput;
use crate::names::Purpose;
use crate::observe::job::ObservedJob;
use crate::observe::pod::ObservedPod;
use scalequest_core::record::RunRecord;

/// Returns worker and GPU time that is not counted yet, in milliseconds.
pub(super) fn uncounted(input: &ReconcileInput<'_>, record: &RunRecord) -> (i64, i64) {
    let jobs = input.owned.jobs.iter();
    let open = jobs.filter(|job| !record.counted.jobs.contains(&job.uid));
    let pods = open.flat_map(|job| pods(input, record, job));
    pods.fold((0, 0), |(worker, gpu), pod| {
        let millis = pod.lifetime(input.now_millis);
        (worker + millis, gpu + if pod.on_gpu { millis } else { 0 })
    })
}

/// Counts all pods of a Job, for good.
pub(super) fn finalize_usage(
    input: &ReconcileInput<'_>,
    record: &mut RunRecord,
    job: &ObservedJob,
) {
    let Some(stage) = job.identity.stage() else {
        return;
    };
    if record.counted.jobs.contains(&job.uid) {
        return;
    }
    let mut has_run = false;
    for pod in pods(input, record, job) {
        let millis = pod.lifetime(input.now_millis);
        has_run |= pod.started_at_millis.is_some();
        let gpu = if pod.on_gpu { millis } else { 0 };
        record.add_stage_usage(stage, &job.identity.key, millis, gpu);
    }
    if has_run && job.identity.purpose != Purpose::Seal {
        mark_computed(record, job);
    }
    record.counted.jobs.insert(job.uid.clone());
}

/// Counts pods that are deleted while their Job is active. Returns whether there are any.
pub(super) fn count_removed_pods(input: &ReconcileInput<'_>, record: &mut RunRecord) -> bool {
    let mut any = false;
    for job in &input.owned.jobs {
        if job.has_ended() || job.is_terminating || record.counted.jobs.contains(&job.uid) {
            continue;
        }
        let Some(stage) = job.identity.stage() else {
            continue;
        };
        for pod in pods(input, record, job) {
            if pod.deletion_timestamp_millis.is_none()
                || pod.termination.is_none()
                || pod.started_at_millis.is_none()
            {
                continue;
            }
            let millis = pod.lifetime(input.now_millis);
            let gpu = if pod.on_gpu { millis } else { 0 };
            record.add_stage_usage(stage, &job.identity.key, millis, gpu);
            record.counted.pods.insert(pod.uid.clone());
            any = true;
        }
    }
    any
}

/// Drops the uids of deleted objects: they never come back.
pub(super) fn forget_deleted(input: &ReconcileInput<'_>, record: &mut RunRecord) {
    let owned = input.owned;
    let counted = &mut record.counted;
    counted
        .jobs
        .retain(|uid| owned.jobs.iter().any(|job| job.uid == *uid));
    counted
        .pods
        .retain(|uid| owned.pods.iter().any(|pod| pod.uid == *uid));
}

/// Returns the pods of a Job that were not counted by themselves.
fn pods<'a>(
    input: &ReconcileInput<'a>,
    record: &RunRecord,
    job: &ObservedJob,
) -> Vec<&'a Arc<ObservedPod>> {
    let pods = input.owned.pods.iter();
    pods.filter(|pod| pod.job == job.uid && !record.counted.pods.contains(&pod.uid))
        .collect()
}

fn mark_computed(record: &mut RunRecord, job: &ObservedJob) {
    let identity = &job.identity;
    let stage = record
        .stages
        .iter_mut()
        .find(|stage| stage.key == identity.key && Some(&stage.id) == identity.id.as_ref());
    if let Some(stage) = stage {
        stage.computed = true;
    }
}
