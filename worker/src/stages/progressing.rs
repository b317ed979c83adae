//! Says how far the work is, at most twice a second, as JSON lines on standard output. Display only.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use scalequest_crds::protocol::progress::Progress;

/// Shortest time between two lines about the same activity.
const PAUSE: Duration = Duration::from_millis(500);

type Sink = Box<dyn Fn(&str) + Send + Sync>;

/// Where progress is said.
pub struct Progressing {
    sink: Sink,
    said: Mutex<Option<(Instant, Progress)>>,
}

impl Progressing {
    /// Says progress on standard output. A reader that is gone is no reason to fail.
    pub fn on_stdout() -> Self {
        Self::to(|line| {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        })
    }

    /// Says progress to `sink`, a line of JSON at a time.
    pub fn to(sink: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            sink: Box::new(sink),
            said: Mutex::new(None),
        }
    }

    /// The same, and to `sink` too.
    pub fn also_to(self, sink: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let first = self.sink;
        Self::to(move |line| {
            first(line);
            sink(line);
        })
    }

    /// Says nothing.
    pub fn silent() -> Self {
        Self::to(|_| {})
    }

    /// Says `progress`, unless it was said a moment ago; a new activity and the end of one are always said.
    pub fn say(&self, progress: Progress) {
        let Ok(mut said) = self.said.lock() else {
            return;
        };
        let at_end = progress.total > 0 && progress.done >= progress.total;
        if let Some((when, before)) = &*said
            && before.doing == progress.doing
            && (when.elapsed() < PAUSE && !at_end || *before == progress)
        {
            return;
        }
        if let Ok(line) = serde_json::to_string(&progress) {
            (self.sink)(&line);
        }
        *said = Some((Instant::now(), progress));
    }

    /// Says of how many bytes how many are there: in MiB, and of none where that is not known.
    pub fn say_bytes(&self, doing: &str, done: u64, total: u64) {
        let mib = |bytes: u64| i64::try_from(bytes >> 20).unwrap_or(i64::MAX);
        self.say(Progress {
            doing: format!("{doing}, MiB"),
            done: mib(done),
            // Rounded up, so that the end is the end.
            total: mib(total.saturating_add((1 << 20) - 1)),
            ..Progress::default()
        });
    }

    /// Says that `doing` begins.
    pub fn begin(&self, doing: &str) {
        self.say(Progress {
            doing: doing.into(),
            ..Progress::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn progress_within_half_a_second_is_said_once_and_the_end_always() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = lines.clone();
        let progressing =
            Progressing::to(move |line| sink.lock().expect("a lock").push(line.to_owned()));
        for done in 0..=100 {
            progressing.say(Progress {
                doing: "generate".into(),
                done,
                total: 100,
                ..Progress::default()
            });
        }
        progressing.begin("commit");
        let lines = lines.lock().expect("a lock");
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[1].contains("\"done\":100") && lines[2].contains("commit"));
    }
}
