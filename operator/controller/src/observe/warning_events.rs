//! Reads the warning events of Jobs without pods and of pods whose container is not created: the only place with the reason (a quota, an
//! admission policy, a volume that cannot be mounted). For display only, and only for stuck objects.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client};

use super::OwnedObjects;
use super::job::ObservedJob;
use super::pod::ObservedPod;
use crate::metrics::Metrics;

/// Time for which a Job may have no pods, or a pod no container.
pub const GRACE_MILLIS: i64 = 60_000;

/// Maximum number of objects whose events are read in one reconcile.
const MAX_OBJECTS: usize = 3;

/// Whether an active Job lacks pods.
pub fn has_no_pod(job: &ObservedJob, owned: &OwnedObjects, now_millis: i64) -> bool {
    let has_counted_none = job.active == 0 && job.succeeded == 0 && job.failed_indexes.is_empty();
    job.is_active()
        && !job.is_suspended
        && has_counted_none
        && now_millis - job.created_at_millis > GRACE_MILLIS
        && owned.pods_of(job).next().is_none()
}

/// Whether a pod's container is not created.
pub fn is_stuck(pod: &ObservedPod, now_millis: i64) -> bool {
    pod.is_creating
        && pod.termination.is_none()
        && now_millis - pod.created_at_millis > GRACE_MILLIS
}

/// Returns the last warning event of each stuck object, by its uid. A failed request only loses the message.
pub async fn warning_events(
    client: &Client,
    metrics: &Metrics,
    namespace: &str,
    owned: &OwnedObjects,
    now_millis: i64,
) -> BTreeMap<String, String> {
    let jobs = owned
        .jobs
        .iter()
        .filter(|job| has_no_pod(job, owned, now_millis));
    let pods = owned.pods.iter().filter(|pod| is_stuck(pod, now_millis));
    let uids = jobs.map(|job| &job.uid).chain(pods.map(|pod| &pod.uid));
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let mut warnings = BTreeMap::new();
    for uid in uids.take(MAX_OBJECTS) {
        let fields = format!("involvedObject.uid={uid},type=Warning");
        let params = ListParams::default().fields(&fields);
        match metrics.timed("list", "events", api.list(&params)).await {
            Ok(events) => {
                let last = events.items.into_iter().max_by_key(when);
                warnings.extend(last.and_then(|event| Some((uid.clone(), event.message?))));
            }
            Err(error) => tracing::debug!(%error, "cannot read events"),
        }
    }
    warnings
}

fn when(event: &Event) -> i64 {
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let at = event.event_time.as_ref().map(|time| time.0);
    let created = event
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|time| time.0);
    let latest = last.max(at).max(created);
    latest.map_or(0, |time| time.as_millisecond())
}
