//! What the operator has written and must see again before it decides anew: a cache that lags behind would show it a world in which its
//! last step was never made.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After this time a cache that still has not shown a write is believed: what was written may be gone again.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// What is expected for each run.
#[derive(Debug, Default)]
pub struct Expected {
    by_run: Mutex<HashMap<String, (Versions, Instant)>>,
}

impl Expected {
    /// Notes what was written for the run with `uid`; kinds that were not written are 0.
    pub fn raise(&self, uid: &str, written: Versions) {
        let mut by_run = self.by_run.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (versions, since) = by_run
            .entry(uid.to_string())
            .or_insert((Versions::default(), now));
        *versions = Versions {
            run: versions.run.max(written.run),
            jobs: versions.jobs.max(written.jobs),
            maps: versions.maps.max(written.maps),
        };
        *since = now;
    }

    /// Whether everything that was written for the run is among what was seen.
    pub fn is_met(&self, uid: &str, seen: Versions) -> bool {
        let mut by_run = self.by_run.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((wanted, since)) = by_run.get(uid) else {
            return true;
        };
        let is_met = seen.run >= wanted.run && seen.jobs >= wanted.jobs && seen.maps >= wanted.maps;
        if is_met || since.elapsed() > PATIENCE {
            by_run.remove(uid);
            return true;
        }
        false
    }

    /// Forgets a run that is gone.
    pub fn forget(&self, uid: &str) {
        let mut by_run = self.by_run.lock().unwrap_or_else(PoisonError::into_inner);
        by_run.remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_decided_before_every_write_was_seen() {
        let expected = Expected::default();
        let seen = |run, jobs, maps| Versions { run, jobs, maps };
        assert!(expected.is_met("a", seen(0, 0, 0)));
        expected.raise("a", seen(0, 10, 0));
        expected.raise("a", seen(0, 8, 12));
        for (versions, is_met) in [
            (seen(0, 9, 12), false),
            (seen(0, 10, 11), false),
            (seen(0, 10, 12), true),
            (seen(0, 0, 0), true),
        ] {
            assert_eq!(expected.is_met("a", versions), is_met, "{versions:?}");
        }
        assert!(expected.is_met("b", seen(0, 0, 0)));
    }
}
