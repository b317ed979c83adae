//! What Kubernetes says, as events, of a Job without pods and of a pod that does not come to be: the one place where the reason for it stands
//! (a quota, an admission policy, a volume that cannot be mounted). Asked for only where something hangs, and for display only.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client};

use super::Belongings;
use super::job::SeenJob;
use super::pod::SeenPod;
use crate::api_requests::timed;
use crate::metrics::Metrics;

/// Time for which a Job may be without pods, or a pod without its container.
pub const PATIENCE_MILLIS: i64 = 60_000;

/// Objects that are asked about in one look.
const ASKED: usize = 3;

/// Whether a Job that should have pods has none.
pub fn has_no_pod(job: &SeenJob, belongings: &Belongings, now_millis: i64) -> bool {
    let has_counted_none = job.active == 0 && job.succeeded == 0 && job.failed_indexes.is_empty();
    let should = !job.has_ended() && !job.is_leaving && !job.is_suspended;
    should
        && has_counted_none
        && now_millis - job.made_millis > PATIENCE_MILLIS
        && belongings.pods.iter().all(|pod| pod.job != job.uid)
}

/// Whether a pod's container does not come to be.
pub fn is_stuck(pod: &SeenPod, now_millis: i64) -> bool {
    pod.is_creating && pod.ended.is_none() && now_millis - pod.made_millis > PATIENCE_MILLIS
}

/// The last warning about each object that hangs, by the object's uid. An API server that does not answer costs the words and nothing else.
pub async fn words(
    client: &Client,
    metrics: &Metrics,
    namespace: &str,
    belongings: &Belongings,
    now_millis: i64,
) -> BTreeMap<String, String> {
    let jobs = belongings.jobs.iter();
    let jobs = jobs
        .filter(|job| has_no_pod(job, belongings, now_millis))
        .map(|job| &job.uid);
    let pods = belongings.pods.iter();
    let pods = pods
        .filter(|pod| is_stuck(pod, now_millis))
        .map(|pod| &pod.uid);
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let mut words = BTreeMap::new();
    for uid in jobs.chain(pods).take(ASKED) {
        let asked = ListParams::default().fields(&format!("involvedObject.uid={uid},type=Warning"));
        match timed(metrics, "list", "events", api.list(&asked)).await {
            Ok(events) => {
                let last = events.items.into_iter().max_by_key(when);
                words.extend(last.and_then(|event| Some((uid.clone(), event.message?))));
            }
            Err(error) => tracing::debug!(%error, "events cannot be read"),
        }
    }
    words
}

fn when(event: &Event) -> i64 {
    let times = [
        event.last_timestamp.as_ref().map(|time| time.0),
        event.event_time.as_ref().map(|time| time.0),
        event
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0),
    ];
    times
        .into_iter()
        .flatten()
        .map(|time| time.as_millisecond())
        .max()
        .unwrap_or(0)
}
