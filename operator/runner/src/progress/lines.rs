//! Events as plain lines, for a pipe or a file: what happened is printed at once, progress at a bounded rate.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use scalequest_crds::v1alpha1::StageId;

use super::sentence::sentence;
use super::{Display, Event};

/// Least time between two progress lines of a stage.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(15);

/// Writes lines to standard error.
#[derive(Default)]
pub struct Lines {
    printed_at: BTreeMap<StageId, Instant>,
    /// The activity of the preflight that was printed last, and when.
    preflight: Option<(String, Instant)>,
}

impl Lines {
    fn is_too_soon(&mut self, event: &Event) -> bool {
        let is_recent = |printed_at: &Instant| printed_at.elapsed() < PROGRESS_INTERVAL;
        match event {
            Event::Preflight { progress } => {
                let is_complete = progress.total > 0 && progress.done >= progress.total;
                let soon = self
                    .preflight
                    .as_ref()
                    .is_some_and(|(activity, printed_at)| {
                        *activity == progress.activity && is_recent(printed_at) && !is_complete
                    });
                if !soon {
                    self.preflight = Some((progress.activity.clone(), Instant::now()));
                }
                soon
            }
            Event::StageStarted { name, .. } => {
                self.printed_at.insert(name.clone(), Instant::now());
                false
            }
            Event::StageProgressed { name, .. } => {
                let stage = self.printed_at.entry(name.clone());
                let printed_at = stage.or_insert_with(Instant::now);
                let soon = is_recent(printed_at);
                if !soon {
                    *printed_at = Instant::now();
                }
                soon
            }
            _ => false,
        }
    }
}

impl Display for Lines {
    fn show(&mut self, event: &Event) {
        if !self.is_too_soon(event)
            && let Some(line) = sentence(event)
        {
            // If nobody reads any more, the run continues all the same.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}
