//! Expectations: resource versions of the controller's own writes. The controller does not reconcile a run again until its caches have observed
//! them, since a stale cache would show it objects without its last actions.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time after which an unsatisfied expectation expires: the written object may have been deleted since.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Resource versions by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// Of the run.
    pub run: u64,
    /// Of Jobs.
    pub jobs: u64,
    /// Of ConfigMaps.
    pub maps: u64,
}

/// Expectations of each run.
#[derive(Debug, Default)]
pub struct Expectations {
    by_run: Mutex<HashMap<String, (Versions, Instant)>>,
}

impl Expectations {
    /// Adds an expectation for the run with `uid`; kinds that were not written are 0.
    pub fn expect(&self, uid: &str, written: Versions) {
        let mut by_run = self.by_run.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = by_run.get(uid).map_or(Versions::default(), |known| known.0);
        let latest = Versions {
            run: expected.run.max(written.run),
            jobs: expected.jobs.max(written.jobs),
            maps: expected.maps.max(written.maps),
        };
        by_run.insert(uid.to_string(), (latest, Instant::now()));
    }

    /// Whether the caches, which have observed `seen`, satisfy the expectations of the run.
    pub fn are_satisfied(&self, uid: &str, seen: Versions) -> bool {
        let mut by_run = self.by_run.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((expected, since)) = by_run.get(uid) else {
            return true;
        };
        let are_satisfied =
            seen.run >= expected.run && seen.jobs >= expected.jobs && seen.maps >= expected.maps;
        if are_satisfied || since.elapsed() > TIMEOUT {
            by_run.remove(uid);
            return true;
        }
        false
    }

    /// Drops the expectations of all runs but those in `uids`.
    pub fn retain(&self, uids: &HashSet<String>) {
        let mut by_run = self.by_run.lock().unwrap_or_else(PoisonError::into_inner);
        by_run.retain(|uid, _| uids.contains(uid));
    }

    /// Drops the expectations of a deleted run.
    pub fn forget(&self, uid: &str) {
        let mut by_run = self.by_run.lock().unwrap_or_else(PoisonError::into_inner);
        by_run.remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_wait_for_own_writes() {
        let expectations = Expectations::default();
        let seen = |run, jobs, maps| Versions { run, jobs, maps };
        assert!(expectations.are_satisfied("a", seen(0, 0, 0)));
        expectations.expect("a", seen(0, 10, 0));
        expectations.expect("a", seen(0, 8, 12));
        for (versions, are_satisfied) in [
            (seen(0, 9, 12), false),
            (seen(0, 10, 11), false),
            (seen(0, 10, 12), true),
            (seen(0, 0, 0), true),
        ] {
            assert_eq!(
                expectations.are_satisfied("a", versions),
                are_satisfied,
                "{versions:?}"
            );
        }
        assert!(expectations.are_satisfied("b", seen(0, 0, 0)));
    }
}
