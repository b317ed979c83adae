//! Reports a worker's progress as JSON lines, at most twice a second, and counts every change for the watchdog.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use scalequest_crds::protocol::progress::Progress;
use scalequest_engine::heartbeat::beat;

/// Minimum time between two lines about the same activity.
const MIN_INTERVAL: Duration = Duration::from_millis(500);

type Sink = Box<dyn Fn(&str) + Send + Sync>;

/// Reports progress to a sink.
pub struct ProgressReporter {
    sink: Sink,
    last: Arc<Mutex<Option<(Instant, Progress)>>>,
}

impl ProgressReporter {
    /// Creates a reporter that writes to standard output. A closed output is no error.
    pub fn stdout() -> Self {
        Self::new(|line| {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        })
    }

    /// Creates a reporter that calls `sink` with one line of JSON at a time.
    pub fn new(sink: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            sink: Box::new(sink),
            last: Arc::default(),
        }
    }

    /// Also reports to a second sink.
    pub fn tee(self, sink: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let first = self.sink;
        Self::new(move |line| {
            first(line);
            sink(line);
        })
    }

    /// Creates a reporter that reports nothing.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    /// Reports `progress` unless the last report was a moment ago; a new activity and the end of one are always reported.
    pub fn report(&self, progress: Progress) {
        let Ok(mut last) = self.last.lock() else {
            return;
        };
        let at_end = progress.total > 0 && progress.done >= progress.total;
        let is_unchanged = last.as_ref().is_some_and(|(_, before)| *before == progress);
        // A report that repeats the last one is no progress.
        if !is_unchanged {
            beat();
        }
        if let Some((when, before)) = &*last
            && before.activity == progress.activity
            && (when.elapsed() < MIN_INTERVAL && !at_end || is_unchanged)
        {
            return;
        }
        if let Ok(line) = serde_json::to_string(&progress) {
            (self.sink)(&line);
        }
        *last = Some((Instant::now(), progress));
    }

    /// Returns a function that describes the latest report: the activity and how far it is.
    pub fn description(&self) -> impl Fn() -> String + Send + 'static {
        let last = Arc::clone(&self.last);
        move || {
            let last = last.lock().unwrap_or_else(PoisonError::into_inner);
            match &*last {
                None => "start".into(),
                Some((_, progress)) if progress.done == 0 && progress.total == 0 => {
                    progress.activity.clone()
                }
                Some((_, progress)) => format!(
                    "{}, {} of {} done",
                    progress.activity, progress.done, progress.total
                ),
            }
        }
    }

    /// Reports `done` of `total` bytes in MiB; a `total` of 0 means that it is unknown.
    pub fn report_bytes(&self, activity: &str, done: u64, total: u64) {
        let mib = |bytes: u64| i64::try_from(bytes >> 20).unwrap_or(i64::MAX);
        self.report(Progress {
            activity: format!("{activity}, MiB"),
            done: mib(done),
            // Rounded up, so that `done` equals it only at the end.
            total: mib(total.saturating_add((1 << 20) - 1)),
            ..Progress::default()
        });
    }

    /// Reports the start of an activity.
    pub fn set_activity(&self, activity: &str) {
        self.report(Progress {
            activity: activity.into(),
            ..Progress::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn reports_are_throttled_except_the_last() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = lines.clone();
        let reporter =
            ProgressReporter::new(move |line| sink.lock().expect("a lock").push(line.to_owned()));
        for done in 0..=100 {
            reporter.report(Progress {
                activity: "generate".into(),
                done,
                total: 100,
                ..Progress::default()
            });
        }
        assert_eq!(reporter.description()(), "generate, 100 of 100 done");
        reporter.set_activity("commit");
        assert_eq!(reporter.description()(), "commit");
        let lines = lines.lock().expect("a lock");
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[1].contains("\"done\":100") && lines[2].contains("commit"));
    }
}
