//! What card and report both tell, as values ready to be printed: outcome, funnel, yields, models, notes. Two documents
//! from one set of numbers cannot contradict each other.

use scalequest_crds::protocol::task::Publication;
use scalequest_crds::v1alpha1::{Stage, SynthesisRun};
use serde::Serialize;

use super::arrange::Arranged;
use super::facts::{Facts, PreferenceFacts};
use super::manifest::PublishedManifest;
use super::reproducibility::irreproducible_note;
use super::table::preferences::direction_name;
use super::table::rejects::{reason_name, reason_words};
use super::words::{share, thousands};

/// All that the documents are written from.
pub struct Story<'a> {
    /// What the operator says of the run.
    pub publication: &'a Publication,
    /// The resolved spec.
    pub run: &'a SynthesisRun,
    /// The sealed stages.
    pub arranged: &'a Arranged<'a>,
    /// What was counted.
    pub facts: &'a Facts,
    /// What is published.
    pub manifest: &'a PublishedManifest,
}

/// A stage of the funnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The stage in words.
    pub label: &'static str,
    /// Questions that came in.
    pub entered: i64,
    /// Questions that went on.
    pub left: i64,
    /// Questions that were dropped.
    pub dropped: i64,
    /// Dropped questions by reason.
    pub reasons: Vec<Dropped>,
}

/// Questions dropped for a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// The reason's name in the files.
    pub reason: &'static str,
    /// The reason in words.
    pub words: &'static str,
    /// Questions.
    pub count: i64,
}

/// What came of one wave and generator.
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
    /// Accepted of generated.
    pub share: String,
}

/// What came of a generator's preference pairs.
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

impl Story<'_> {
    /// The funnel: a step for each per-wave stage of the run, in order, from all generated questions to the accepted pairs.
    pub fn steps(&self) -> Vec<Step> {
        let rejected = self.facts.rejected();
        let mut entered = self.manifest.funnel.generated;
        let mut steps = Vec::new();
        for stage in self.arranged.wave_stages() {
            let dropped = |((of, reason), count): (&(Stage, _), &i64)| {
                (*of == stage).then(|| Dropped {
                    reason: reason_name(*reason),
                    words: reason_words(*reason),
                    count: *count,
                })
            };
            let reasons: Vec<_> = rejected.iter().filter_map(dropped).collect();
            let dropped = reasons.iter().map(|dropped| dropped.count).sum();
            steps.push(Step {
                label: step_words(stage),
                entered,
                left: entered - dropped,
                dropped,
                reasons,
            });
            entered -= dropped;
        }
        steps
    }

    /// Yields by wave and generator.
    pub fn yields(&self) -> Vec<WaveYield> {
        let row =
            |((wave, generator), counted): (&(i32, String), &super::facts::Yield)| WaveYield {
                wave: *wave,
                generator: generator.clone(),
                generated: counted.generated,
                accepted: counted.accepted,
                share: share(counted.accepted, counted.generated),
            };
        self.facts.yields.iter().map(row).collect()
    }

    /// Yields of preference pairs by generator.
    pub fn pair_yields(&self) -> Vec<PairYield> {
        let row = |(generator, facts): (&String, &PreferenceFacts)| PairYield {
            generator: generator.clone(),
            sampled: facts.pairs.values().sum::<i64>() + facts.rejected.values().sum::<i64>(),
            pairs: facts
                .pairs
                .iter()
                .map(|(direction, count)| (direction_name(*direction), *count))
                .collect(),
            rejected: facts
                .rejected
                .iter()
                .map(|((_, reason), count)| (reason_name(*reason), *count))
                .collect(),
        };
        self.facts.preferences.iter().map(row).collect()
    }

    /// Whether the dataset holds what was asked for.
    pub fn is_complete(&self) -> bool {
        self.publication.short.is_none() && self.manifest.funnel.accepted >= self.publication.target
    }

    /// The outcome in a sentence.
    pub fn outcome(&self) -> String {
        let accepted = thousands(self.manifest.funnel.accepted);
        let target = thousands(self.publication.target);
        match &self.publication.short {
            Some(why) => format!("Ended short: {accepted} of {target} pairs ({why})."),
            None if self.is_complete() => {
                format!("Complete: {accepted} accepted pairs; {target} were asked for.")
            }
            None => format!("Under way: {accepted} of {target} pairs so far."),
        }
    }

    /// Whether running the spec again gives the same bytes.
    pub fn is_reproducible(&self) -> bool {
        self.irreproducible_note().is_none()
    }

    fn irreproducible_note(&self) -> Option<String> {
        irreproducible_note(self.arranged.sealed())
    }

    /// What a reader must know before trusting the bytes: bodies without reproducible arithmetic, questions left out.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::from_iter(self.irreproducible_note());
        if self.arranged.unfinished > 0 {
            notes.push(format!(
                "{} more questions were generated in a wave that was not finished; they are no part of the dataset nor of its funnel.",
                thousands(self.arranged.unfinished)
            ));
        }
        notes
    }
}

/// A per-wave stage in words.
fn step_words(stage: Stage) -> &'static str {
    match stage {
        Stage::Generate => "Generate: a whole question",
        Stage::Filter => "Filter: language, contamination, duplicates",
        Stage::Judge => "Judge: solvable",
        Stage::Rate => "Rate: not too easy",
        Stage::Respond => "Respond: fits the context",
        Stage::Reward => "Reward: can be scored",
        Stage::Verify => "Verify: final answers agree",
        other => other.slug(),
    }
}
