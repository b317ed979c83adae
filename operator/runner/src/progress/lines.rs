//! Events as plain lines, for a pipe or a file: what happened is told at once, what goes on at a bounded rate.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use super::sentence::sentence;
use scalequest_crds::v1alpha1::StageId;

use super::{Display, Event};

/// Least time between two progress lines of a stage.
const PACE: Duration = Duration::from_secs(15);

/// Writes lines to standard error.
pub struct Lines {
    told: BTreeMap<StageId, Instant>,
    /// What was said last of what comes before the run, and when.
    before: Option<(String, Instant)>,
}

impl Lines {
    /// A display that writes plain lines.
    pub fn new() -> Self {
        Lines {
            told: BTreeMap::new(),
            before: None,
        }
    }

    fn is_too_soon(&mut self, event: &Event) -> bool {
        match event {
            Event::Inspecting { progress } => {
                let told = self.before.as_ref();
                let at_end = progress.total > 0 && progress.done >= progress.total;
                let soon = told.is_some_and(|(activity, told)| {
                    *activity == progress.activity && told.elapsed() < PACE && !at_end
                });
                if !soon {
                    self.before = Some((progress.activity.clone(), Instant::now()));
                }
                soon
            }
            Event::StageStarted { name, .. } => {
                self.told.insert(name.clone(), Instant::now());
                false
            }
            Event::StageProgressed { name, .. } => {
                let now = Instant::now();
                let told = self.told.entry(name.clone()).or_insert(now);
                let soon = now.duration_since(*told) < PACE;
                if !soon {
                    *told = now;
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
            // Nobody reads any more: the run goes on all the same.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}
