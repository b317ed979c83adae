//! What a dataset says of itself: funnel, yields, distributions and samples, counted while its rows go by. Everything the
//! card and the report state about rows comes from here, so that they cannot disagree with the files.

use std::collections::BTreeMap;

use scalequest_crds::digest::sha256_hex;
use scalequest_crds::protocol::rows::{Direction, PreferenceRow, RejectRow, ResponseRow};
use scalequest_crds::v1alpha1::{RejectReason, Stage};

use super::arrange::WaveStages;
use super::distribution::{Distribution, Kind};
use super::error::PublishError;
use super::manifest::PublishedFunnel;
use super::merge::Outcome;

/// Accepted samples that the report shows.
const ACCEPTED_SAMPLES: usize = 6;
/// Rejected samples that the report shows of each reason.
const REJECTED_SAMPLES: usize = 3;

/// What became of the questions of one wave and generator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Yield {
    /// Questions generated.
    pub generated: i64,
    /// Pairs accepted.
    pub accepted: i64,
    /// Questions rejected, by stage and reason.
    pub rejected: BTreeMap<(Stage, RejectReason), i64>,
}

/// What became of the questions that were sampled for preference pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreferenceFacts {
    /// Pairs by direction.
    pub pairs: BTreeMap<Direction, i64>,
    /// Questions that gave no pair, by stage and reason.
    pub rejected: BTreeMap<(Stage, RejectReason), i64>,
}

/// The rows with the smallest hashes of seed and id: spread over the dataset, and the same in every execution.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    kept: BTreeMap<(String, i64), Outcome>,
}

impl Samples {
    fn offer(&mut self, seed: i64, outcome: &Outcome, most: usize) {
        let id = outcome.question().id;
        let key = (sha256_hex(format!("sample {seed} {id}").as_bytes()), id);
        if self.kept.len() < most
            || self
                .kept
                .last_key_value()
                .is_some_and(|(last, _)| key < *last)
        {
            self.kept.insert(key, outcome.clone());
        }
        if self.kept.len() > most {
            self.kept.pop_last();
        }
    }

    /// The samples, by id.
    pub fn rows(&self) -> Vec<&Outcome> {
        let mut rows: Vec<_> = self.kept.values().collect();
        rows.sort_by_key(|outcome| outcome.question().id);
        rows
    }
}

/// What a dataset says of itself.
#[derive(Clone, Debug)]
pub struct Facts {
    seed: i64,
    /// By wave and generator.
    pub yields: BTreeMap<(i32, String), Yield>,
    /// By generator.
    pub preferences: BTreeMap<String, PreferenceFacts>,
    /// Rewards: of chosen responses, and of all others.
    pub reward: Distribution,
    /// Predicted fail rates: of accepted questions, and of rejected ones.
    pub difficulty: Distribution,
    /// Tokens of questions: of accepted ones, and of rejected ones.
    pub question_tokens: Distribution,
    /// Tokens of responses: of chosen ones, and of all others.
    pub response_tokens: Distribution,
    /// How many responses agree with the chosen one.
    pub agreement: Distribution,
    /// Accepted samples.
    pub accepted_samples: Samples,
    /// Rejected samples by reason.
    pub rejected_samples: BTreeMap<RejectReason, Samples>,
}

impl Facts {
    /// Nothing counted; `seed` selects the samples.
    pub fn new(seed: i64) -> Self {
        Self {
            seed,
            yields: BTreeMap::new(),
            preferences: BTreeMap::new(),
            reward: Distribution::real(),
            difficulty: Distribution::real(),
            question_tokens: Distribution::whole(),
            response_tokens: Distribution::whole(),
            agreement: Distribution::whole(),
            accepted_samples: Samples::default(),
            rejected_samples: BTreeMap::new(),
        }
    }

    /// Counts the questions that a wave's generators made.
    pub fn record_generated(&mut self, wave: &WaveStages<'_>) {
        for sealed in wave.of(Stage::Generate) {
            let generator = sealed.input.generator.clone().unwrap_or_default();
            self.yields
                .entry((wave.wave, generator))
                .or_default()
                .generated += sealed.rows("rows") + sealed.rows("rejects");
        }
    }

    /// Counts what became of a question.
    pub fn record(&mut self, wave: i32, outcome: &Outcome) {
        let question = outcome.question();
        let counted = self
            .yields
            .entry((wave, question.generator.clone()))
            .or_default();
        let (kind, responses, chosen) = match outcome {
            Outcome::Accepted(row) => {
                counted.accepted += 1;
                self.agreement.record(row.agreement.into(), Kind::Accepted);
                self.accepted_samples
                    .offer(self.seed, outcome, ACCEPTED_SAMPLES);
                (Kind::Accepted, &row.answered.responses, Some(row.chosen))
            }
            Outcome::Rejected(row) => {
                *counted.rejected.entry((row.stage, row.reason)).or_default() += 1;
                self.rejected_samples.entry(row.reason).or_default().offer(
                    self.seed,
                    outcome,
                    REJECTED_SAMPLES,
                );
                (Kind::Other, &row.responses, None)
            }
        };
        self.question_tokens
            .record(question.question_tokens.into(), kind);
        if let Some(difficulty) = question.difficulty {
            self.difficulty.record(difficulty, kind);
        }
        responses
            .iter()
            .for_each(|response| self.record_response(response, chosen));
    }

    fn record_response(&mut self, response: &ResponseRow, chosen: Option<i32>) {
        let kind = if chosen == Some(response.index) {
            Kind::Accepted
        } else {
            Kind::Other
        };
        self.response_tokens.record(response.tokens.into(), kind);
        if let Some(reward) = response.reward {
            self.reward.record(reward, kind);
        }
    }

    /// Counts a preference pair.
    pub fn record_preference(&mut self, row: &PreferenceRow) {
        *self
            .preferences
            .entry(row.generator.clone())
            .or_default()
            .pairs
            .entry(row.direction)
            .or_default() += 1;
    }

    /// Counts a question that gave no preference pair.
    pub fn record_preference_reject(&mut self, generator: &str, row: &RejectRow) {
        let facts = self.preferences.entry(generator.into()).or_default();
        *facts.rejected.entry((row.stage, row.reason)).or_default() += 1;
    }

    /// The funnel over all waves and generators.
    pub fn funnel(&self) -> PublishedFunnel {
        let mut funnel = PublishedFunnel::default();
        for counted in self.yields.values() {
            funnel.generated += counted.generated;
            funnel.accepted += counted.accepted;
            for ((_, reason), count) in &counted.rejected {
                *funnel.rejected.entry(*reason).or_default() += count;
            }
        }
        funnel
    }

    /// Rejected questions over all waves and generators, by stage and reason.
    pub fn rejected(&self) -> BTreeMap<(Stage, RejectReason), i64> {
        let mut rejected = BTreeMap::new();
        for (what, count) in self.yields.values().flat_map(|counted| &counted.rejected) {
            *rejected.entry(*what).or_default() += count;
        }
        rejected
    }

    /// Checks that every wave and generator adds up: generated = accepted + rejected.
    ///
    /// # Errors
    /// Names the first wave and generator that does not.
    pub fn check(&self) -> Result<(), PublishError> {
        for ((wave, generator), counted) in &self.yields {
            let rejected: i64 = counted.rejected.values().sum();
            if counted.generated != counted.accepted + rejected {
                return Err(PublishError::Inconsistent(format!(
                    "wave {wave} of generator `{generator}`: {} questions generated, but {} accepted and {rejected} rejected",
                    counted.generated, counted.accepted
                )));
            }
        }
        Ok(())
    }
}
