//! Usage from the lifetimes of pods, each counted once. A Job's pods are counted together when it has ended or is deleted by the controller,
//! since until then they can be observed again; a pod that is deleted while its Job is active is counted by itself.

use std::sync::Arc;

use super::ReconcileInput;
use crate::names::Purpose;
use crate::observe::job::ObservedJob;
use crate::observe::pod::ObservedPod;
use scalequest_core::record::{AttemptCounts, RunRecord};
use scalequest_crds::protocol::exit_codes::worker::{DONE, NO_PROGRESS, STOPPED};

/// Returns worker and GPU time that is not counted yet, in milliseconds.
pub(super) fn uncounted(input: &ReconcileInput<'_>, record: &RunRecord) -> (i64, i64) {
    let jobs = input.owned.jobs.iter();
    let pods = jobs.flat_map(|job| uncounted_pods(input, record, job));
    let lifetimes = pods.map(|pod| pod.lifetime(input.now_millis));
    lifetimes.fold((0, 0), |sum, (worker, gpu)| (sum.0 + worker, sum.1 + gpu))
}

/// Returns the attempts without success at the stage with content key `key` that are not counted yet.
pub(super) fn uncounted_attempts(
    input: &ReconcileInput<'_>,
    record: &RunRecord,
    key: &str,
) -> AttemptCounts {
    let jobs = input.owned.jobs.iter();
    let jobs = jobs.filter(|job| job.identity.key == key && job.identity.purpose.is_attempt());
    let pods = jobs.flat_map(|job| uncounted_pods(input, record, job));
    pods.fold(AttemptCounts::default(), |mut sum, pod| {
        sum += attempts(pod);
        sum
    })
}

/// Returns how the attempt of a pod ended, if without success.
fn attempts(pod: &ObservedPod) -> AttemptCounts {
    let is_evicted = pod.is_disrupted || pod.deletion_timestamp_millis.is_some();
    let code = pod.termination.as_ref().map(|end| end.code);
    let is_failed = code.is_some_and(|code| ![Some(DONE), Some(STOPPED)].contains(&code));
    let is_hung = code == Some(Some(NO_PROGRESS));
    AttemptCounts {
        evicted: i64::from(is_evicted),
        hung: i64::from(is_hung && !is_evicted),
        failed: i64::from(is_failed && !is_hung && !is_evicted),
        restarts: i64::from(pod.restarts),
    }
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
        && matches!(job.identity.purpose, Purpose::Run | Purpose::MarkFailed)
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
        if pod.identity.purpose.is_attempt() {
            record.add_attempts(stage, &pod.identity.key, attempts(pod));
        }
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
