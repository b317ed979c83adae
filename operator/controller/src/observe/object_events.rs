//! Reads the events of objects that wait: the only place with some reasons (a quota, an admission policy, a volume that cannot be mounted, a node
//! that an autoscaler adds). For display only. Events of an object are listed once a minute at most, however often its run is reconciled.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Event;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::Value;

use super::OwnedObjects;
use super::job::ObservedJob;
use super::pod::ObservedPod;
use super::waiting::WaitCause;
use crate::metrics::Metrics;

/// Time after which an object waits: pods of most Jobs start earlier, and a condition shows it within a minute.
pub const GRACE_MILLIS: i64 = 30_000;

/// Maximum number of objects of a run whose events are listed in one reconcile.
const MAX_OBJECTS: usize = 3;

/// Shortest time between two lists of an object's events.
const LIST_INTERVAL: Duration = Duration::from_secs(60);

/// Reasons of events by which autoscalers say that a node is added: the Cluster Autoscaler's and Karpenter's.
const SCALING: [&str; 2] = ["TriggeredScaleUp", "Nominated"];

/// What the events of an object say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectEvents {
    /// The message of the last warning.
    pub warning: Option<String>,
    /// Whether an autoscaler adds a node for it.
    pub is_scaling: bool,
}

impl ObjectEvents {
    fn of(events: Vec<Event>) -> ObjectEvents {
        let is = |event: &Event, reasons: &[&str]| {
            let reason = event.reason.as_deref().unwrap_or_default();
            reasons.contains(&reason)
        };
        let is_warning = |event: &&Event| event.type_.as_deref() == Some("Warning");
        let last = events
            .iter()
            .filter(is_warning)
            .max_by_key(|each| when(each));
        ObjectEvents {
            warning: last.and_then(|event| event.message.clone()),
            is_scaling: events.iter().any(|event| is(event, &SCALING)),
        }
    }
}

/// What was listed last of the objects of a run, by their uids.
type ListedOfRun = HashMap<String, (Instant, ObjectEvents)>;

/// What was listed last, by the uids of runs.
#[derive(Debug, Default)]
pub struct ListedEvents(Mutex<HashMap<String, ListedOfRun>>);

impl ListedEvents {
    /// Drops what is known of a run.
    pub fn forget(&self, run: &str) {
        self.lock().remove(run);
    }

    /// Drops what is known of all runs but those in `runs`.
    pub fn retain(&self, runs: &HashSet<String>) {
        self.lock().retain(|run, _| runs.contains(run));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, ListedOfRun>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what was listed of an object not long ago.
    fn recent(&self, run: &str, uid: &str) -> Option<ObjectEvents> {
        let all = self.lock();
        let (at, events) = all.get(run)?.get(uid)?;
        (at.elapsed() < LIST_INTERVAL).then(|| events.clone())
    }

    /// Replaces what is known of a run.
    fn replace(&self, run: &str, found: &BTreeMap<String, ObjectEvents>) {
        let mut all = self.lock();
        if found.is_empty() {
            all.remove(run);
            return;
        }
        let known = all.entry(run.to_string()).or_default();
        known.retain(|uid, (at, _)| found.contains_key(uid) && at.elapsed() < LIST_INTERVAL);
        for (uid, events) in found {
            let listed = || (Instant::now(), events.clone());
            known.entry(uid.clone()).or_insert_with(listed);
        }
    }
}

/// Whether a Job waits in a queue of Kueue.
fn is_queued(job: &ObservedJob) -> bool {
    job.is_active() && job.is_suspended && job.queue.is_some()
}

/// Whether an active Job lacks pods.
pub fn has_no_pod(job: &ObservedJob, owned: &OwnedObjects) -> bool {
    let has_counted_none = job.active == 0 && job.succeeded == 0 && job.failed_indexes.is_empty();
    job.is_active() && !job.is_suspended && has_counted_none && owned.pods_of(job).next().is_none()
}

/// Whether only its events can say what a pod waits for: its container is not created, or a node may be added for it.
fn needs_events(pod: &ObservedPod) -> bool {
    let wait = pod.wait.as_ref().map(|wait| wait.cause);
    pod.termination.is_none() && (pod.is_creating || wait == Some(WaitCause::Scheduling))
}

/// Returns what the events of the objects of `run` that wait say, by their uids. A failed request only loses the words.
pub async fn object_events(
    client: &Client,
    metrics: &Metrics,
    listed: &ListedEvents,
    (run, namespace): (&str, &str),
    owned: &OwnedObjects,
    now_millis: i64,
) -> BTreeMap<String, ObjectEvents> {
    let jobs = owned.jobs.iter();
    let jobs = jobs.filter(|job| has_no_pod(job, owned) || is_queued(job));
    let pods = owned.pods.iter().filter(|pod| needs_events(pod));
    let jobs = jobs.map(|job| (&job.uid, job.created_at_millis, is_queued(job)));
    let objects = jobs.chain(pods.map(|pod| (&pod.uid, pod.created_at_millis, false)));
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let mut found = BTreeMap::new();
    let waits = |(_, since, _): &(&String, i64, bool)| now_millis - since > GRACE_MILLIS;
    for (uid, _, is_queued) in objects.filter(waits).take(MAX_OBJECTS) {
        if let Some(events) = listed.recent(run, uid) {
            found.insert(uid.clone(), events);
            continue;
        }
        if is_queued {
            let warning = workload_message(client, metrics, namespace, uid).await;
            let events = ObjectEvents {
                warning,
                is_scaling: false,
            };
            found.insert(uid.clone(), events);
            continue;
        }
        let params = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
        match metrics.timed("list", "events", api.list(&params)).await {
            Ok(events) => drop(found.insert(uid.clone(), ObjectEvents::of(events.items))),
            Err(error) => tracing::debug!(%error, "cannot list events"),
        }
    }
    listed.replace(run, &found);
    found
}

/// Returns why Kueue has not admitted the Job with `uid`, from its Workload. Without the right to list Workloads nothing is known.
async fn workload_message(
    client: &Client,
    metrics: &Metrics,
    namespace: &str,
    uid: &str,
) -> Option<String> {
    let kind = GroupVersionKind::gvk("kueue.x-k8s.io", "v1beta1", "Workload");
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let params = ListParams::default().labels(&format!("kueue.x-k8s.io/job-uid={uid}"));
    match metrics.timed("list", "workloads", api.list(&params)).await {
        Ok(workloads) => reservation_message(&workloads.items.first()?.data),
        Err(error) => {
            tracing::debug!(%error, "cannot list workloads");
            None
        }
    }
}

/// Returns why no quota is reserved for a Workload, without the amounts that are missing, which change by themselves.
fn reservation_message(workload: &Value) -> Option<String> {
    let mut conditions = workload.pointer("/status/conditions")?.as_array()?.iter();
    let reservation = conditions.find(|condition| condition["type"] == "QuotaReserved")?;
    let message = reservation["message"].as_str()?;
    let parts = message.split(", ");
    let parts: Vec<&str> = parts
        .filter(|part| !part.ends_with("more needed"))
        .collect();
    (reservation["status"] == "False").then(|| parts.join(", "))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn last_warning_and_scaling_are_found() {
        let event = |kind: &str, reason: &str, message: &str, at: &str| {
            let event = json!({"metadata": {}, "involvedObject": {}, "type": kind, "reason": reason,
                "message": message, "lastTimestamp": at});
            serde_json::from_value::<Event>(event).expect("an event")
        };
        let mut events = vec![
            event(
                "Warning",
                "FailedCreate",
                "exceeded quota: a",
                "2026-11-01T00:02:00Z",
            ),
            event(
                "Warning",
                "FailedCreate",
                "exceeded quota: b",
                "2026-11-01T00:01:00Z",
            ),
        ];
        let found = ObjectEvents::of(events.clone());
        assert_eq!(found.warning.as_deref(), Some("exceeded quota: a"));
        assert!(!found.is_scaling);
        events.push(event(
            "Normal",
            "TriggeredScaleUp",
            "",
            "2026-11-01T00:00:00Z",
        ));
        assert!(ObjectEvents::of(events).is_scaling);
    }

    #[test]
    fn workload_says_why_it_waits() {
        let condition = |status: &str| {
            let message = "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor default, 1 more needed";
            let conditions =
                [json!({"type": "QuotaReserved", "status": status, "message": message})];
            json!({"status": {"conditions": conditions}})
        };
        let message = reservation_message(&condition("False")).expect("a message");
        assert!(
            message.ends_with("quota for cpu in flavor default"),
            "{message}"
        );
        assert_eq!(reservation_message(&condition("True")), None);
        assert_eq!(reservation_message(&json!({})), None);
    }

    #[test]
    fn events_are_listed_once_a_minute() {
        let listed = ListedEvents::default();
        let events = ObjectEvents {
            is_scaling: true,
            ..ObjectEvents::default()
        };
        let found = BTreeMap::from([("pod".to_string(), events.clone())]);
        listed.replace("run", &found);
        assert_eq!(listed.recent("run", "pod"), Some(events));
        listed.replace("run", &BTreeMap::new());
        assert_eq!(listed.recent("run", "pod"), None);
        listed.replace("run", &found);
        listed.retain(&HashSet::new());
        assert_eq!(listed.recent("run", "pod"), None);
    }
}
