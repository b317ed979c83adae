//! A watchdog: ends an attempt that makes no progress, such as one that waits for a network file system that hangs or for a device that does
//! not respond. Such an attempt would otherwise occupy an accelerator until somebody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;

/// Longest interval between two checks.
const MAX_INTERVAL: Duration = Duration::from_secs(10);

/// The watchdog's argument.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchdogArguments {
    /// End with exit code 124 if nothing advances for so long: no row, token, step or byte; 0: never
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 1800,
        env = "SCALEQUEST_NO_PROGRESS_TIMEOUT_SECONDS"
    )]
    pub no_progress_timeout: u64,
}

impl WatchdogArguments {
    /// Returns the longest time without progress; `None` if it is not limited.
    pub fn timeout(self) -> Option<Duration> {
        (self.no_progress_timeout > 0).then(|| Duration::from_secs(self.no_progress_timeout))
    }
}

/// A running watchdog.
pub struct Watchdog {
    /// Whether the attempt has ended, by itself or by the watchdog: only the first of them reports.
    has_ended: Arc<AtomicBool>,
}

impl Watchdog {
    /// Starts a watchdog: once `count` has returned the same number for `timeout`, calls `on_stall`, which ends the process. Without a
    /// timeout nothing is started.
    ///
    /// Time in which the process itself does not run (a suspended machine, a frozen container) does not count.
    pub fn start(
        timeout: Option<Duration>,
        count: impl Fn() -> u64 + Send + 'static,
        on_stall: impl FnOnce() + Send + 'static,
    ) -> Self {
        let has_ended = Arc::new(AtomicBool::new(false));
        if let Some(timeout) = timeout {
            let has_ended = Arc::clone(&has_ended);
            std::thread::spawn(move || {
                wait_for_stall(timeout, &count, &has_ended);
                if !has_ended.swap(true, Ordering::SeqCst) {
                    on_stall();
                }
            });
        }
        Watchdog { has_ended }
    }

    /// Stops the watchdog since the attempt has ended. Does not return if the watchdog is ending the process.
    pub fn stop(self) {
        if self.has_ended.swap(true, Ordering::SeqCst) {
            loop {
                std::thread::park();
            }
        }
    }
}

/// Returns when `count` has not changed for `timeout`, or the attempt has ended.
fn wait_for_stall(timeout: Duration, count: &dyn Fn() -> u64, has_ended: &AtomicBool) {
    let interval = (timeout / 20).clamp(Duration::from_millis(10), MAX_INTERVAL);
    let (mut last, mut idle) = (count(), Duration::ZERO);
    while idle < timeout && !has_ended.load(Ordering::SeqCst) {
        let slept = Instant::now();
        std::thread::sleep(interval);
        let now = count();
        idle = match now == last {
            true => idle + slept.elapsed().min(2 * interval),
            false => Duration::ZERO,
        };
        last = now;
    }
}

/// Returns `timeout` in words.
pub fn describe(timeout: Duration) -> String {
    match timeout.as_secs() {
        60 => "1 minute".into(),
        seconds if seconds > 0 && seconds.is_multiple_of(60) => format!("{} minutes", seconds / 60),
        1 => "1 second".into(),
        seconds => format!("{seconds} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn stall_is_reported_once_progress_ends() {
        let counter = Arc::new(AtomicU64::new(0));
        let (send, stalled) = channel();
        let watched = Arc::clone(&counter);
        let _watchdog = Watchdog::start(
            Some(Duration::from_millis(400)),
            move || watched.load(Ordering::Relaxed),
            move || send.send(()).unwrap(),
        );
        // Twice the timeout, with progress.
        for _ in 0..16 {
            counter.fetch_add(1, Ordering::Relaxed);
            assert!(stalled.recv_timeout(Duration::from_millis(50)).is_err());
        }
        stalled
            .recv_timeout(Duration::from_secs(30))
            .expect("a stall");
    }

    #[test]
    fn stopped_watchdog_reports_nothing() {
        let (send, stalled) = channel::<()>();
        let on_stall = move || send.send(()).unwrap();
        let watchdog = Watchdog::start(Some(Duration::from_millis(100)), || 0, on_stall);
        watchdog.stop();
        // The thread drops its sender without a message.
        assert_eq!(
            stalled.recv_timeout(Duration::from_secs(30)),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
        );
        Watchdog::start(None, || 0, || panic!("no timeout")).stop();
    }

    #[test]
    fn timeouts_are_described_in_words() {
        for (seconds, expected) in [
            (1800, "30 minutes"),
            (60, "1 minute"),
            (90, "90 seconds"),
            (1, "1 second"),
        ] {
            assert_eq!(describe(Duration::from_secs(seconds)), expected);
        }
    }
}
