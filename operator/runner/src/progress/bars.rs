//! Events on a terminal: a bar for each stage under way, sentences above them.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::sentence::{progress_sentence, sentence};
use scalequest_crds::v1alpha1::StageId;

use super::{Display, Event};

/// Draws bars on standard error.
pub struct Bars {
    all: MultiProgress,
    stages: BTreeMap<StageId, ProgressBar>,
    accepted: Option<ProgressBar>,
    /// The bar of the preflight.
    preflight: Option<ProgressBar>,
}

impl Bars {
    /// A display that draws bars.
    pub fn new() -> Self {
        Bars {
            all: MultiProgress::new(),
            stages: BTreeMap::new(),
            accepted: None,
            preflight: None,
        }
    }

    fn bar(&mut self, name: &StageId, total: i64) -> &ProgressBar {
        let all = &self.all;
        self.stages.entry(name.clone()).or_insert_with(|| {
            let bar = all
                .insert(0, ProgressBar::new(unsigned(total)))
                .with_prefix(name.to_string());
            bar.set_style(style("{prefix:>26} {bar:24.cyan/blue} {msg}"));
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
                let all = &self.all;
                let bar = self.preflight.get_or_insert_with(|| {
                    let bar = all.add(ProgressBar::new(1));
                    bar.set_style(style("{prefix:>26} {bar:24.cyan/blue} {pos}/{len} {msg}"));
                    bar
                });
                bar.set_prefix("before the run");
                bar.set_message(progress.activity.clone());
                bar.set_length(unsigned(progress.total.max(progress.done).max(1)));
                bar.set_position(unsigned(progress.done));
            }
            Event::RunStarted { .. } => {
                if let Some(bar) = self.preflight.take() {
                    bar.finish_and_clear();
                }
                self.print_line(event);
            }
            Event::StageStarted { name, rows, .. } => {
                self.bar(name, *rows).set_message("starts");
            }
            Event::StageProgressed { name, progress } => {
                let bar = self.bar(name, progress.total);
                bar.set_length(unsigned(progress.total.max(progress.done).max(1)));
                bar.set_position(unsigned(progress.done));
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
                    let all = &self.all;
                    let bar = self.accepted.get_or_insert_with(|| {
                        let bar = all.add(ProgressBar::new(1)).with_prefix("accepted");
                        bar.set_style(style("{prefix:>26} {bar:24.green/white} {pos}/{len} {msg}"));
                        bar
                    });
                    bar.set_length(unsigned(progress.target));
                    bar.set_position(unsigned(progress.accepted));
                    bar.set_message(
                        progress
                            .eta
                            .as_ref()
                            .map(|eta| format!("about {eta} left"))
                            .unwrap_or_default(),
                    );
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

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
