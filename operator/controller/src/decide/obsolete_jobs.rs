//! Jobs that are not needed any more: active ones that are not wanted are deleted, those that an edit of the spec outdated among them, and the
//! pods of ended ones leave the cache once the record holds all that they reported.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;

use super::{Actions, ReconcileInput};
use crate::names::TEMPLATE_HASH;
use crate::observe::POD_LAG_MILLIS;
use crate::observe::job::ObservedJob;
use crate::observe::pod::ObservedPod;
use scalequest_core::record::RunRecord;

/// Time after its end when a Job's pods may leave the cache: by then nothing waits for them to be observed as ended.
const COLLECTABLE_AFTER_MILLIS: i64 = 2 * POD_LAG_MILLIS;

/// Returns the active Jobs that are not wanted. Ended ones stay for their logs until their TTL.
pub(super) fn obsolete(
    input: &ReconcileInput<'_>,
    is_wanted: impl Fn(&ObservedJob) -> bool,
) -> Vec<Arc<ObservedJob>> {
    let jobs = input.owned.jobs.iter();
    jobs.filter(|job| job.is_active() && !is_wanted(job))
        .cloned()
        .collect()
}

/// Whether the spec now makes another Job of `job` than when it was created, and none of its pods has started: it is deleted and created again.
/// `desired` returns the Job that would be created now. Pods that have started finish with what they began with.
pub(super) fn is_outdated(
    input: &ReconcileInput<'_>,
    job: &ObservedJob,
    desired: impl FnOnce() -> Option<Job>,
) -> bool {
    let has_started =
        |pod: &Arc<ObservedPod>| pod.started_at_millis.is_some() || pod.termination.is_some();
    if !job.is_active() || job.counted > 0 || input.owned.pods_of(job).any(has_started) {
        return false;
    }
    let desired = desired();
    let desired = desired
        .as_ref()
        .and_then(|job| job.annotations().get(TEMPLATE_HASH));
    desired.is_some() && job.template_hash.is_some() && desired != job.template_hash.as_ref()
}

/// Adds to `actions` the Jobs whose pods the cache may drop: ended ones of which the saved record, not only the one about to be saved, holds
/// the seal and the usage.
pub(super) fn collect(input: &ReconcileInput<'_>, saved: &RunRecord, actions: &mut Actions) {
    for job in &input.owned.jobs {
        let is_on_record = match job.identity.stage() {
            Some(_) => saved.is_sealed(&job.identity.key) && saved.counted.jobs.contains(&job.uid),
            // The record begins with what the preflight found.
            None => true,
        };
        let has_pods = input.owned.pods_of(job).next().is_some();
        let Some(ended) = job.finished_at_millis.filter(|_| is_on_record && has_pods) else {
            continue;
        };
        if actions.is_due(ended + COLLECTABLE_AFTER_MILLIS - input.now_millis) {
            actions.collectable.insert(job.uid.clone());
        }
    }
}
