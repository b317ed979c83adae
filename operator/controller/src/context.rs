//! State shared by all reconciles: API client, caches, status throttle and backoff of failed reconciles. It never influences a decision, so
//! losing it is harmless.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::NamespaceResourceScope;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Api, Client, Resource};

use super::metrics::Metrics;
use super::observe::Caches;
use super::observe::object_events::ListedEvents;
use super::settings::Settings;
use scalequest_core::retry::RECONCILE_BACKOFF;

/// State shared by all reconciles.
pub struct Context {
    /// Client of the API server.
    pub client: Client,
    /// The watched namespace; all if `None`.
    pub namespace: Option<String>,
    /// Settings of the operator.
    pub settings: Settings,
    /// Objects as the watches have them.
    pub caches: Caches,
    /// Counters, shared by all.
    pub metrics: Arc<Metrics>,
    /// Recorder of events that may repeat: it counts repetitions.
    pub repeating: Recorder,
    /// The controller that events name.
    pub reporter: Reporter,
    /// HTTP client that polls workers for progress.
    pub progress_client: reqwest::Client,
    /// Throttle of status updates.
    pub status_throttle: StatusThrottle,
    /// What events of objects that wait said last.
    pub listed_events: ListedEvents,
    /// Failed reconciles in a row, by the run's uid.
    pub failures: Mutex<HashMap<String, u32>>,
}

impl Context {
    /// Returns the recorder for an event. The repeating one keeps events for minutes, to count them, so it is not used for one-shot events.
    pub fn recorder(&self, is_one_shot: bool) -> Recorder {
        match is_one_shot {
            true => Recorder::new(self.client.clone(), self.reporter.clone()),
            false => self.repeating.clone(),
        }
    }

    /// Drops the state of a deleted run.
    pub fn forget(&self, uid: &str) {
        self.caches.expectations.forget(uid);
        self.status_throttle.forget(uid);
        self.listed_events.forget(uid);
        self.succeeded(uid);
    }

    /// Drops the state of all runs but those in `uids`.
    pub fn retain(&self, uids: &HashSet<String>) {
        self.caches.expectations.retain(uids);
        self.status_throttle.retain(uids);
        self.listed_events.retain(uids);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|uid, _| uids.contains(uid));
    }

    /// Resets the backoff of a run after a successful reconcile.
    pub fn succeeded(&self, uid: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(uid);
    }

    /// Counts a failed reconcile and returns after which time to requeue the run: an exponential backoff.
    pub fn failed(&self, uid: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(uid.to_string()).or_default();
        *count += 1;
        RECONCILE_BACKOFF.delay(*count)
    }

    /// Returns the API of a kind of objects in the watched namespace, or in all.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}

/// Shortest time between two status updates of a run that differ in progress only, and the longest that many runs stretch it to.
const MIN_INTERVAL: Duration = Duration::from_secs(5);
const MAX_INTERVAL: Duration = Duration::from_secs(600);

/// What each active run adds to that time: all of them together update two statuses a second.
const INTERVAL_PER_RUN: Duration = Duration::from_millis(500);

/// Throttle of status updates: the time of the last one, for each active run.
#[derive(Debug, Default)]
pub struct StatusThrottle(Mutex<HashMap<String, Instant>>);

impl StatusThrottle {
    /// Returns how long a progress update of the run still has to wait, or `None` if it is due.
    pub fn wait(&self, uid: &str) -> Option<Duration> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_run = last.get(uid)?;
        let left = interval(last.len()).checked_sub(of_run.elapsed())?;
        (!left.is_zero()).then_some(left)
    }

    /// Records a status update at `at`.
    pub fn note(&self, uid: &str, at: Instant) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(uid.to_string(), at);
    }

    /// Drops all runs but those in `uids`.
    pub fn retain(&self, uids: &HashSet<String>) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|uid, _| uids.contains(uid));
    }

    /// Drops a run that is idle or deleted.
    pub fn forget(&self, uid: &str) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.remove(uid);
    }
}

fn interval(active_runs: usize) -> Duration {
    let shared = INTERVAL_PER_RUN.saturating_mul(u32::try_from(active_runs).unwrap_or(u32::MAX));
    shared.clamp(MIN_INTERVAL, MAX_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_throttle_scales_with_runs() {
        let seconds = [0, 10, 40, 1_000, 5_000].map(|runs| interval(runs).as_secs());
        assert_eq!(seconds, [5, 5, 20, 500, 600]);
        let throttle = StatusThrottle::default();
        assert_eq!(throttle.wait("a"), None);
        throttle.note("a", Instant::now());
        assert!(throttle.wait("a").is_some_and(|left| left <= MIN_INTERVAL));
        assert_eq!(throttle.wait("b"), None);
        throttle.forget("a");
        assert_eq!(throttle.wait("a"), None);
        for uid in ["a", "b"] {
            throttle.note(uid, Instant::now());
        }
        throttle.retain(&HashSet::from(["b".into()]));
        assert!(throttle.wait("a").is_none() && throttle.wait("b").is_some());
    }
}
