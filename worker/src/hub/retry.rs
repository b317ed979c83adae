//! When to retry a failed attempt of a download, and when to fail. It sends nothing.

use std::time::{Duration, Instant};

use super::{FetchError, ProgressCallback, Timeouts};
use crate::http::backoff;

/// Attempts at a server that has never responded: a wrong address or a missing network is likelier than a server that restarts.
const MAX_UNANSWERED: u32 = 4;

/// Longest sleep between two checks for a requested stop.
const STOP_POLL: Duration = Duration::from_millis(100);

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// A retry may succeed.
    Transient {
        /// What went wrong.
        message: String,
        /// The server's `Retry-After`.
        retry_after: Option<Duration>,
        /// Whether a server responded.
        answered: bool,
    },
    /// The bytes are not those of the listing.
    Corrupt(String),
    /// No retry can succeed.
    Permanent(FetchError),
}

impl From<FetchError> for AttemptError {
    fn from(error: FetchError) -> Self {
        AttemptError::Permanent(error)
    }
}

/// The retry budget of one request or file: the time without progress and, until a server has responded once, the number of attempts.
pub(super) struct RetryBudget {
    timeout: Duration,
    attempts: u32,
    answered: bool,
    last_progress: Instant,
}

impl RetryBudget {
    /// A full budget.
    pub(super) fn new(timeouts: Timeouts) -> Self {
        RetryBudget {
            timeout: timeouts.retry,
            attempts: 0,
            answered: false,
            last_progress: Instant::now(),
        }
    }

    /// Restores the full budget after an attempt that made progress.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
        self.answered = true;
        self.last_progress = Instant::now();
    }

    /// Charges a failed attempt at `what` to the budget and waits for the backoff before the next one.
    ///
    /// # Errors
    /// The failure is permanent, the budget is exhausted, or a stop was requested.
    pub(super) fn wait_for_retry(
        &mut self,
        what: &str,
        error: AttemptError,
        progress: &ProgressCallback<'_>,
    ) -> Result<(), FetchError> {
        let (message, retry_after) = match error {
            AttemptError::Permanent(error) => return Err(error),
            AttemptError::Corrupt(message) => return Err(FetchError::defective(message)),
            AttemptError::Transient {
                message,
                retry_after,
                answered,
            } => {
                self.answered |= answered;
                (message, retry_after)
            }
        };
        self.attempts += 1;
        let pause = retry_after.unwrap_or_else(|| backoff(self.attempts));
        let unanswered = !self.answered && self.attempts >= MAX_UNANSWERED;
        if unanswered || self.last_progress.elapsed() + pause > self.timeout {
            return Err(FetchError::Unavailable(format!(
                "{what}: {message} (after {} attempts): check the network, HTTPS_PROXY and HF_ENDPOINT, then run the same again; the download resumes",
                self.attempts
            )));
        }
        tracing::debug!(what, message, ?pause, "retrying");
        sleep(pause, progress)
    }
}

/// Sleeps for `pause`.
///
/// # Errors
/// A stop was requested.
pub(super) fn sleep(pause: Duration, progress: &ProgressCallback<'_>) -> Result<(), FetchError> {
    let until = Instant::now() + pause;
    loop {
        if (progress.is_stopped)() {
            return Err(FetchError::Stopped);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(STOP_POLL));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transient(answered: bool) -> AttemptError {
        AttemptError::Transient {
            message: "it broke".into(),
            retry_after: Some(Duration::ZERO),
            answered,
        }
    }

    const PROGRESS: ProgressCallback<'_> = ProgressCallback {
        report: &|_, _, _| {},
        is_stopped: &|| false,
    };

    #[test]
    fn retries_end_early_without_any_response() {
        let timeouts = Timeouts {
            read: Duration::from_secs(60),
            retry: Duration::from_secs(600),
        };
        let mut budget = RetryBudget::new(timeouts);
        for _ in 1..MAX_UNANSWERED {
            budget
                .wait_for_retry("it", transient(false), &PROGRESS)
                .unwrap();
        }
        let error = budget
            .wait_for_retry("it", transient(false), &PROGRESS)
            .unwrap_err();
        assert!(matches!(error, FetchError::Unavailable(_)));
        let mut budget = RetryBudget::new(timeouts);
        for _ in 0..MAX_UNANSWERED * 4 {
            budget
                .wait_for_retry("it", transient(true), &PROGRESS)
                .unwrap();
        }
    }

    #[test]
    fn retries_end_with_budget_or_stop() {
        let none = Timeouts {
            read: Duration::ZERO,
            retry: Duration::ZERO,
        };
        let late = AttemptError::Transient {
            message: "busy".into(),
            retry_after: Some(Duration::from_secs(5)),
            answered: true,
        };
        let error = RetryBudget::new(none)
            .wait_for_retry("it", late, &PROGRESS)
            .unwrap_err();
        assert!(error.to_string().contains("busy"), "{error}");
        let stopped = ProgressCallback {
            is_stopped: &|| true,
            ..PROGRESS
        };
        let ended = sleep(Duration::from_secs(3600), &stopped).unwrap_err();
        assert!(matches!(ended, FetchError::Stopped));
    }
}
