//! Retry settings of both executors: how often failed work is repeated, and the backoff before each retry. What counts as a failure is the
//! executors' business.

use std::time::Duration;

/// Retries of a failed shard before it is marked failed; in a cluster the default of `--shard-retries`.
pub const SHARD_RETRIES: u32 = 3;

/// Retries of a failed seal or preflight. They read a store and write little, so that it is mostly the store that fails.
pub const SEAL_RETRIES: u32 = 6;

/// Transient failures of the same cause in a row, without progress, after which a stage is blocked.
pub const MAX_SAME_CAUSE: u32 = 4;

/// How often the output of one stage may be found corrupt before the run fails.
pub const MAX_CORRUPTIONS: u32 = 5;

/// Exponential backoff: a delay that doubles with each failure in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Delay after the first failure.
    pub first: Duration,
    /// Longest delay.
    pub longest: Duration,
}

/// Backoff of a worker that the runner starts again. In a cluster the Job controller has its own.
pub const WORKER_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(60),
};

/// Backoff of a preflight that ends without a result.
pub const INFRASTRUCTURE_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(30),
    longest: Duration::from_secs(600),
};

/// Backoff of the probe of a blocked stage, before jitter.
pub const PROBE_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(10),
    longest: Duration::from_secs(480),
};

/// Backoff of a preflight that found errors: what it checks outside of the spec may have been corrected meanwhile.
pub const PREFLIGHT_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(300),
    longest: Duration::from_secs(4 * 3600),
};

/// Backoff of a failed reconciliation.
pub const RECONCILE_BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(300),
};

impl Backoff {
    /// Returns the delay after so many failures in a row.
    pub fn delay(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_the_longest() {
        let seconds = [0, 1, 2, 3, 6, 7, 100].map(|n| WORKER_BACKOFF.delay(n).as_secs());
        assert_eq!(seconds, [1, 1, 2, 4, 32, 60, 60]);
    }
}
