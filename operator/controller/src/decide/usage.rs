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
    let pods = jobs.flat_map(|job| uncounted_pods(input, record, job));
    let lifetimes = pods.map(|pod| pod.lifetime(input.now_millis));
    lifetimes.fold((0, 0), |sum, (worker, gpu)| (sum.0 + worker, sum.1 + gpu))
}

/// Counts all pods of a Job, for good.
pub(super) fn finalize_usage(
    input: &ReconcileInput<'_>,
    record: &mut RunRecord,
    job: &ObservedJob,
) {
    if job.identity.stage().is_none() || record.counted.jobs.contains(&job.uid) {
        return;
    }
    let pods = uncounted_pods(input, record, job);
    for pod in &pods {
        count(input, record, pod);
    }
    let has_run = pods.iter().any(|pod| pod.started_at_millis.is_some());
    let mut stages = record.stages.iter_mut();
    let stage = stages
        .find(|stage| stage.key == job.identity.key && Some(&stage.id) == job.identity.id.as_ref());
    if let Some(stage) = stage
        && has_run
        && job.identity.purpose != Purpose::Seal
    {
        stage.computed = true;
    }
    record.counted.jobs.insert(job.uid.clone());
}

/// Counts pods that are deleted while their Job is active.
pub(super) fn count_removed_pods(input: &ReconcileInput<'_>, record: &mut RunRecord) {
    for job in input.owned.jobs.iter().filter(|job| job.is_active()) {
        for pod in uncounted_pods(input, record, job) {
            let has_run = pod.started_at_millis.is_some() && pod.termination.is_some();
            if has_run && pod.deletion_timestamp_millis.is_some() && count(input, record, pod) {
                record.counted.pods.insert(pod.uid.clone());
            }
        }
    }
}

/// Drops the uids of deleted objects: they never come back.
pub(super) fn forget_deleted(input: &ReconcileInput<'_>, record: &mut RunRecord) {
    let owned = input.owned;
    let (jobs, pods) = (&mut record.counted.jobs, &mut record.counted.pods);
    jobs.retain(|uid| owned.jobs.iter().any(|job| job.uid == *uid));
    pods.retain(|uid| owned.pods.iter().any(|pod| pod.uid == *uid));
}

/// Adds the lifetime of a pod to the usage of its stage. Returns whether it has one.
fn count(input: &ReconcileInput<'_>, record: &mut RunRecord, pod: &ObservedPod) -> bool {
    let (worker, gpu) = pod.lifetime(input.now_millis);
    let stage = pod.identity.stage();
    if let Some(stage) = stage {
        record.add_stage_usage(stage, &pod.identity.key, worker, gpu);
    }
    stage.is_some()
}

/// Returns the pods of a Job that are counted neither with it nor by themselves.
fn uncounted_pods<'a>(
    input: &ReconcileInput<'a>,
    record: &RunRecord,
    job: &ObservedJob,
) -> Vec<&'a Arc<ObservedPod>> {
    let counted = &record.counted;
    let pods = input.owned.pods.iter();
    pods.filter(|pod| pod.job == job.uid)
        .filter(|pod| !counted.jobs.contains(&job.uid) && !counted.pods.contains(&pod.uid))
        .collect()
}
