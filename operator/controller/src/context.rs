//! What every look at a run shares: the way to the API server, what the watches have seen, and what is remembered between two looks. None
//! of it decides anything; an operator that forgets it all makes the same of a run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::Client;
use kube::runtime::events::{Recorder, Reporter};

use super::api_requests::timed;
use super::metrics::Metrics;
use super::observe::Observed;
use super::settings::Settings;
use scalequest_core::retry::RECONCILE_BACKOFF;

/// What every look shares.
pub struct Context {
    /// The way to the API server.
    pub client: Client,
    /// Settings of the operator.
    pub settings: Settings,
    /// What the watches have seen.
    pub observed: Observed,
    /// Counters, shared by all.
    pub metrics: Arc<Metrics>,
    /// The way to events that may be told again, which counts repetitions.
    pub repeating: Recorder,
    /// In whose name events are told.
    pub reporter: Reporter,
    /// The way to workers' pods.
    pub asker: reqwest::Client,
    /// When each run's status was last written.
    pub paces: Paces,
    /// How often in a row a look at a run has failed.
    pub failures: Mutex<HashMap<String, u32>>,
}

impl Context {
    /// The way to an event. A recorder keeps each for minutes, to count its repetitions, so it is given none that is told once.
    pub fn recorder(&self, is_told_once: bool) -> Recorder {
        match is_told_once {
            true => Recorder::new(self.client.clone(), self.reporter.clone()),
            false => self.repeating.clone(),
        }
    }

    /// Forgets a run that is gone.
    pub fn forget(&self, uid: &str) {
        self.observed.expected.forget(uid);
        self.paces.forget(uid);
        self.succeeded(uid);
    }

    /// Notes that a look at a run has succeeded.
    pub fn succeeded(&self, uid: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(uid);
    }

    /// Counts a failed look; how long to wait before the next one, longer each time.
    pub fn failed(&self, uid: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(uid.to_string()).or_default();
        *count += 1;
        RECONCILE_BACKOFF.delay(*count)
    }

    /// Waits for a request and notes how long it took.
    pub async fn timed<T>(
        &self,
        verb: &'static str,
        resource: &'static str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> kube::Result<T> {
        timed(&self.metrics, verb, resource, request).await
    }
}

/// Least time between two writes of a run that only say how far its stages are, and the most that many runs at work stretch it to.
const PACE: Duration = Duration::from_secs(5);
const SLOWEST: Duration = Duration::from_secs(600);

/// What each run at work adds to that time: all of them together write two a second.
const SHARE: Duration = Duration::from_millis(500);

/// When the status of each run at work was last written.
#[derive(Debug, Default)]
pub struct Paces(Mutex<HashMap<String, Instant>>);

impl Paces {
    /// How long a small step of the run is still to be kept back.
    pub fn wait(&self, uid: &str) -> Option<Duration> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_run = last.get(uid)?;
        let left = pace(last.len()).checked_sub(of_run.elapsed())?;
        (!left.is_zero()).then_some(left)
    }

    /// Notes that it was written at `at`.
    pub fn note(&self, uid: &str, at: Instant) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(uid.to_string(), at);
    }

    /// Forgets a run that is at rest, or gone.
    pub fn forget(&self, uid: &str) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.remove(uid);
    }
}

fn pace(at_work: usize) -> Duration {
    let shared = SHARE.saturating_mul(u32::try_from(at_work).unwrap_or(u32::MAX));
    shared.clamp(PACE, SLOWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_runs_are_shown_every_five_seconds_and_many_less_often() {
        let seconds = [0, 10, 40, 1_000, 5_000].map(|at_work| pace(at_work).as_secs());
        assert_eq!(seconds, [5, 5, 20, 500, 600]);
        let paces = Paces::default();
        assert_eq!(paces.wait("a"), None);
        paces.note("a", Instant::now());
        assert!(paces.wait("a").is_some_and(|left| left <= PACE));
        assert_eq!(paces.wait("b"), None);
        paces.forget("a");
        assert_eq!(paces.wait("a"), None);
    }
}
