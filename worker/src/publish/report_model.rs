//! The model of card and report: outcome, funnel, yields and notes as values ready to be rendered. Two documents from one set
//! of numbers cannot contradict each other.

use scalequest_crds::protocol::task::Publication;
use scalequest_crds::v1alpha1::{Stage, SynthesisRun};
use serde::Serialize;

use super::format::{share, thousands};
use super::manifest::PublishedManifest;
use super::reproducibility::irreproducible_note;
use super::stage_index::StageIndex;
use super::stats::{DatasetStats, PreferenceStats};
use super::table::preferences::direction_name;
use super::table::rejects::{reason_description, reason_name};

/// All that the documents are rendered from.
pub struct ReportModel<'a> {
    /// The publication task.
    pub publication: &'a Publication,
    /// The resolved spec.
    pub run: &'a SynthesisRun,
    /// The sealed stages.
    pub stage_index: &'a StageIndex<'a>,
    /// The statistics of its rows.
    pub stats: &'a DatasetStats,
    /// The manifest of the dataset.
    pub manifest: &'a PublishedManifest,
}

/// A stage of the funnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FunnelStep {
    /// The stage and what it checks.
    pub label: &'static str,
    /// Questions that entered the stage.
    pub entered: i64,
    /// Questions that remain after it.
    pub remaining: i64,
    /// Questions that it rejected.
    pub rejected: i64,
    /// Rejected questions by reason.
    pub reasons: Vec<RejectCount>,
}

/// Questions rejected for a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RejectCount {
    /// The reason's name in the files.
    pub reason: &'static str,
    /// Its description.
    pub description: &'static str,
    /// Questions.
    pub count: i64,
}

/// The yield of one wave and generator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaveYield {
    /// The wave.
    pub wave: i32,
    /// The generator.
    pub generator: String,
    /// Questions generated.
    pub generated: i64,
    /// Pairs accepted.
    pub accepted: i64,
    /// Accepted pairs as a share of generated questions.
    pub share: String,
}

/// The yield of a generator's preference pairs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PairYield {
    /// The generator.
    pub generator: String,
    /// Questions sampled.
    pub sampled: i64,
    /// Pairs by direction.
    pub pairs: Vec<(&'static str, i64)>,
    /// Questions that gave none, by reason.
    pub rejected: Vec<(&'static str, i64)>,
}

impl ReportModel<'_> {
    /// Returns the funnel: a step for each per-wave stage of the run, from all generated questions to the accepted pairs.
    pub fn steps(&self) -> Vec<FunnelStep> {
        let by_reason = self.stats.rejected();
        let mut entered = self.manifest.funnel.generated;
        let mut steps = Vec::new();
        for stage in self.stage_index.wave_stages() {
            let reject_count = |((of, reason), count): (&(Stage, _), &i64)| {
                (*of == stage).then(|| RejectCount {
                    reason: reason_name(*reason),
                    description: reason_description(*reason),
                    count: *count,
                })
            };
            let reasons: Vec<_> = by_reason.iter().filter_map(reject_count).collect();
            let rejected = reasons.iter().map(|reason| reason.count).sum();
            steps.push(FunnelStep {
                label: step_label(stage),
                entered,
                remaining: entered - rejected,
                rejected,
                reasons,
            });
            entered -= rejected;
        }
        steps
    }

    /// Returns the yields by wave and generator.
    pub fn yields(&self) -> Vec<WaveYield> {
        let row =
            |((wave, generator), counted): (&(i32, String), &super::stats::Yield)| WaveYield {
                wave: *wave,
                generator: generator.clone(),
                generated: counted.generated,
                accepted: counted.accepted,
                share: share(counted.accepted, counted.generated),
            };
        self.stats.yields.iter().map(row).collect()
    }

    /// Returns the yields of preference pairs by generator.
    pub fn pair_yields(&self) -> Vec<PairYield> {
        let row = |(generator, stats): (&String, &PreferenceStats)| PairYield {
            generator: generator.clone(),
            sampled: stats.pairs.values().sum::<i64>() + stats.rejected.values().sum::<i64>(),
            pairs: stats
                .pairs
                .iter()
                .map(|(direction, count)| (direction_name(*direction), *count))
                .collect(),
            rejected: stats
                .rejected
                .iter()
                .map(|((_, reason), count)| (reason_name(*reason), *count))
                .collect(),
        };
        self.stats.preferences.iter().map(row).collect()
    }

    /// Whether the dataset has reached its target.
    pub fn is_complete(&self) -> bool {
        self.publication.incomplete.is_none()
            && self.manifest.funnel.accepted >= self.publication.target
    }

    /// Returns the outcome as a sentence.
    pub fn outcome(&self) -> String {
        let accepted = thousands(self.manifest.funnel.accepted);
        let target = thousands(self.publication.target);
        match &self.publication.incomplete {
            Some(why) => format!("Incomplete: {accepted} of {target} pairs ({why})."),
            None if self.is_complete() => {
                format!("Complete: {accepted} accepted pairs; the target is {target}.")
            }
            None => format!("In progress: {accepted} of {target} pairs so far."),
        }
    }

    /// Whether running the spec again gives the same bytes.
    pub fn is_reproducible(&self) -> bool {
        self.irreproducible_note().is_none()
    }

    fn irreproducible_note(&self) -> Option<String> {
        irreproducible_note(self.stage_index.sealed())
    }

    /// Returns what a reader must know: backends that are not reproducible, and questions that were left out.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::from_iter(self.irreproducible_note());
        if self.stage_index.unfinished > 0 {
            notes.push(format!(
                "{} more questions were generated in an unfinished wave; they are not part of the dataset or its funnel.",
                thousands(self.stage_index.unfinished)
            ));
        }
        notes
    }
}

/// Returns the label of a per-wave stage.
fn step_label(stage: Stage) -> &'static str {
    match stage {
        Stage::Generate => "Generate: a whole question",
        Stage::Filter => "Filter: language, contamination, duplicates",
        Stage::Judge => "Judge: solvable",
        Stage::Score => "Score: not too easy",
        Stage::Respond => "Respond: fits the context",
        Stage::Reward => "Reward: can be scored",
        Stage::Verify => "Verify: final answers agree",
        other => other.slug(),
    }
}
