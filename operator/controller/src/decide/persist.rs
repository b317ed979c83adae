//! Persists the record: a reconcile that changes it saves it before anything that follows from the change is created. So no Job depends on a
//! seal that is not persisted, and an operator that crashes after any write decides the same again from the saved record and the Jobs.

use crate::observe::POD_LAG_MILLIS;
use crate::observe::job::ObservedJob;
use scalequest_core::record::RunRecord;

use super::{Actions, ReconcileInput, RecordSave};

/// Time after its end when a Job's pods may leave the cache: by then nothing waits for them to be observed as ended.
const COLLECTABLE_AFTER_MILLIS: i64 = 2 * POD_LAG_MILLIS;

/// The record as its ConfigMap holds it.
#[derive(Clone, Debug)]
pub(super) struct Saved {
    /// The record.
    pub record: RunRecord,
    /// The ConfigMap's resource version.
    pub version: String,
}

/// Returns the save of `record` that is due, or `None` if it equals the saved one. Everything that a reconcile changes is in one save.
pub(super) fn persist(saved: Option<&Saved>, record: &RunRecord) -> Option<RecordSave> {
    let is_saved = saved.is_some_and(|saved| saved.record == *record);
    (!is_saved).then(|| RecordSave {
        record: record.clone(),
        version: saved.map(|saved| saved.version.clone()),
    })
}

/// Adds to `actions` the Jobs whose pods the cache may drop: ended ones of which the saved record, not only the one about to be saved, holds
/// the seal and the usage.
pub(super) fn collect(input: &ReconcileInput<'_>, saved: &RunRecord, actions: &mut Actions) {
    let has_pods = |job: &ObservedJob| input.owned.pods.iter().any(|pod| pod.job == job.uid);
    for job in input.owned.jobs.iter().filter(|job| has_pods(job)) {
        let is_on_record = match job.identity.stage() {
            Some(_) => saved.is_sealed(&job.identity.key) && saved.counted.jobs.contains(&job.uid),
            // The record begins with what the preflight found.
            None => true,
        };
        let Some(ended) = job.finished_at_millis.filter(|_| is_on_record) else {
            continue;
        };
        let left = ended + COLLECTABLE_AFTER_MILLIS - input.now_millis;
        if left > 0 {
            actions.requeue_in(left);
        } else {
            actions.collectable.insert(job.uid.clone());
        }
    }
}
