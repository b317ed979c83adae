//! When to ask again for what broke, and when to give up. It sends nothing.

use std::time::{Duration, Instant};

use super::{FetchError, Patience, Watch};
use crate::http::pause_after;

/// Attempts at a server that has not answered once: a person waits, and a wrong address or no network is likelier than a server that starts again.
const UNANSWERED: u32 = 4;

/// Longest sleep between two looks at the wish to stop.
const STEP: Duration = Duration::from_millis(100);

/// Why an attempt came to nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Another attempt may do.
    Passing {
        /// What went wrong.
        message: String,
        /// When the server wants to be asked again.
        after: Option<Duration>,
        /// Whether a server answered.
        answered: bool,
    },
    /// What came is not what the listing says.
    Wrong(String),
    /// No attempt can do.
    Final(FetchError),
}

impl From<FetchError> for Trouble {
    fn from(error: FetchError) -> Self {
        Trouble::Final(error)
    }
}

/// The attempts at one thing.
pub(super) struct Attempts {
    patience: Patience,
    count: u32,
    answered: bool,
    since: Instant,
}

impl Attempts {
    /// None so far.
    pub(super) fn new(patience: Patience) -> Self {
        Attempts {
            patience,
            count: 0,
            answered: false,
            since: Instant::now(),
        }
    }

    /// The last attempt was of use.
    pub(super) fn progressed(&mut self) {
        self.count = 0;
        self.answered = true;
        self.since = Instant::now();
    }

    /// Waits before the next attempt at `what`.
    ///
    /// # Errors
    /// There is no hope or no patience left, or a stop was asked for.
    pub(super) fn again(
        &mut self,
        what: &str,
        trouble: Trouble,
        watch: &Watch<'_>,
    ) -> Result<(), FetchError> {
        let (message, after) = match trouble {
            Trouble::Final(error) => return Err(error),
            Trouble::Wrong(message) => return Err(FetchError::World(message)),
            Trouble::Passing {
                message,
                after,
                answered,
            } => {
                self.answered |= answered;
                (message, after)
            }
        };
        self.count += 1;
        let pause = after.unwrap_or_else(|| pause_after(self.count));
        let unanswered = !self.answered && self.count >= UNANSWERED;
        if unanswered || self.since.elapsed() + pause > self.patience.in_all {
            return Err(FetchError::Unavailable(format!(
                "{what}: {message} (the last of {} attempts): check the network, HTTPS_PROXY and HF_ENDPOINT, then run the same again; what was fetched stays",
                self.count
            )));
        }
        tracing::debug!(what, message, ?pause, "trying again");
        sleep(pause, watch)
    }
}

/// Sleeps, unless a stop is asked for.
pub(super) fn sleep(pause: Duration, watch: &Watch<'_>) -> Result<(), FetchError> {
    let until = Instant::now() + pause;
    loop {
        if (watch.is_stopped)() {
            return Err(FetchError::Stopped);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(STEP));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passing(answered: bool) -> Trouble {
        Trouble::Passing {
            message: "it broke".into(),
            after: Some(Duration::ZERO),
            answered,
        }
    }

    const WATCH: Watch<'_> = Watch {
        say: &|_, _, _| {},
        is_stopped: &|| false,
    };

    #[test]
    fn a_server_that_never_answered_is_given_up_soon_and_one_that_did_is_not() {
        let patience = Patience {
            silence: Duration::from_secs(60),
            in_all: Duration::from_secs(600),
        };
        let mut attempts = Attempts::new(patience);
        for _ in 1..UNANSWERED {
            attempts.again("it", passing(false), &WATCH).unwrap();
        }
        let given_up = attempts.again("it", passing(false), &WATCH).unwrap_err();
        assert!(matches!(given_up, FetchError::Unavailable(_)));
        let mut attempts = Attempts::new(patience);
        for _ in 0..UNANSWERED * 4 {
            attempts.again("it", passing(true), &WATCH).unwrap();
        }
    }

    #[test]
    fn patience_ends_and_a_stop_ends_every_pause() {
        let none = Patience {
            silence: Duration::ZERO,
            in_all: Duration::ZERO,
        };
        let late = Trouble::Passing {
            message: "busy".into(),
            after: Some(Duration::from_secs(5)),
            answered: true,
        };
        let given_up = Attempts::new(none).again("it", late, &WATCH).unwrap_err();
        assert!(given_up.to_string().contains("busy"), "{given_up}");
        let stopped = Watch {
            is_stopped: &|| true,
            ..WATCH
        };
        let ended = sleep(Duration::from_secs(3600), &stopped).unwrap_err();
        assert!(matches!(ended, FetchError::Stopped));
    }
}
