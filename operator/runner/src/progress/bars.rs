//! Events on a terminal: a bar for each stage under way, sentences above them.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use scalequest_crds::v1alpha1::StageId;

use super::sentence::{if_known, progress_sentence, sentence};
use super::{Display, Event};

/// Draws bars on standard error.
#[derive(Default)]
pub struct Bars {
    all: MultiProgress,
    stages: BTreeMap<StageId, ProgressBar>,
    accepted: Option<ProgressBar>,
    /// The bar of the preflight.
    preflight: Option<ProgressBar>,
}

impl Bars {
    fn bar(&mut self, name: &StageId) -> &ProgressBar {
        let all = &self.all;
        self.stages.entry(name.clone()).or_insert_with(|| {
            let bar = all.insert(0, bar(&name.to_string(), "cyan/blue", ""));
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        })
    }

    fn print_line(&self, event: &Event) {
        if let Some(line) = sentence(event)
            && self.all.println(&line).is_err()
        {
            eprintln!("{line}");
        }
    }

    fn clear(&mut self) {
        for bar in std::mem::take(&mut self.stages)
            .into_values()
            .chain(self.accepted.take())
            .chain(self.preflight.take())
        {
            bar.finish_and_clear();
        }
    }
}

impl Display for Bars {
    fn show(&mut self, event: &Event) {
        match event {
            Event::Preflight { progress } => {
                let add = || {
                    self.all
                        .add(bar("before the run", "cyan/blue", "{pos}/{len} "))
                };
                let bar = self.preflight.get_or_insert_with(add);
                bar.set_message(progress.activity.clone());
                set(bar, progress.done, progress.total.max(progress.done).max(1));
            }
            Event::RunStarted { .. } => {
                if let Some(bar) = self.preflight.take() {
                    bar.finish_and_clear();
                }
                self.print_line(event);
            }
            Event::StageStarted { name, .. } => self.bar(name).set_message("starts"),
            Event::StageProgressed { name, progress } => {
                let bar = self.bar(name);
                set(bar, progress.done, progress.total.max(progress.done).max(1));
                bar.set_message(progress_sentence(progress));
            }
            Event::StageSealed { name, .. } => {
                if let Some(bar) = self.stages.remove(name) {
                    bar.finish_and_clear();
                }
                self.print_line(event);
            }
            Event::Status { status } => {
                if let Some(progress) = &status.progress {
                    let add = || self.all.add(bar("accepted", "green/white", "{pos}/{len} "));
                    let bar = self.accepted.get_or_insert_with(add);
                    set(bar, progress.accepted, progress.target);
                    bar.set_message(if_known("about ", progress.eta.as_ref(), " left"));
                }
            }
            Event::Ended { .. } => self.clear(),
            _ => self.print_line(event),
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A bar in `colours`, with `figures` between it and its message.
fn bar(prefix: &str, colours: &str, figures: &str) -> ProgressBar {
    let template = format!("{{prefix:>26}} {{bar:24.{colours}}} {figures}{{msg}}");
    let style = ProgressStyle::with_template(&template);
    ProgressBar::new(1)
        .with_prefix(prefix.to_string())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn set(bar: &ProgressBar, done: i64, total: i64) {
    bar.set_length(u64::try_from(total).unwrap_or(0));
    bar.set_position(u64::try_from(done).unwrap_or(0));
}
