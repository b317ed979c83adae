//! Statistics of a dataset: funnel, yields, distributions and samples, collected while its rows are written. All statements of
//! the card and the report about rows come from here, so that they cannot disagree with the files.

use std::collections::BTreeMap;

use scalequest_crds::digest::sha256_hex;
use scalequest_crds::protocol::rows::{Direction, PreferenceRow, RejectRow, ResponseRow};
use scalequest_crds::v1alpha1::{RejectReason, Stage};

use super::distribution::{Distribution, Kind};
use super::error::PublishError;
use super::manifest::PublishedFunnel;
use super::merge::QuestionOutcome;
use super::stage_index::WaveStages;

/// Accepted samples that the report shows.
const ACCEPTED_SAMPLES: usize = 6;
/// Rejected samples that the report shows of each reason.
const REJECTED_SAMPLES: usize = 3;

/// The outcomes of the questions of one wave and generator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Yield {
    /// Questions generated.
    pub generated: i64,
    /// Pairs accepted.
    pub accepted: i64,
    /// Questions rejected, by stage and reason.
    pub rejected: BTreeMap<(Stage, RejectReason), i64>,
}

/// The outcomes of the questions that were sampled for preference pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreferenceStats {
    /// Pairs by direction.
    pub pairs: BTreeMap<Direction, i64>,
    /// Questions that gave no pair, by stage and reason.
    pub rejected: BTreeMap<(Stage, RejectReason), i64>,
}

/// The rows with the smallest hashes of seed and id: spread over the dataset, and always the same.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    rows: BTreeMap<(String, i64), QuestionOutcome>,
}

impl Samples {
    fn add(&mut self, seed: i64, outcome: &QuestionOutcome, most: usize) {
        let id = outcome.question().id;
        let key = (sha256_hex(format!("sample {seed} {id}").as_bytes()), id);
        if self.rows.len() < most
            || self
                .rows
                .last_key_value()
                .is_some_and(|(last, _)| key < *last)
        {
            self.rows.insert(key, outcome.clone());
        }
        if self.rows.len() > most {
            self.rows.pop_last();
        }
    }

    /// Returns the samples, by id.
    pub fn rows(&self) -> Vec<&QuestionOutcome> {
        let mut rows: Vec<_> = self.rows.values().collect();
        rows.sort_by_key(|outcome| outcome.question().id);
        rows
    }
}

/// Statistics of a dataset.
#[derive(Clone, Debug)]
pub struct DatasetStats {
    seed: i64,
    /// By wave and generator.
    pub yields: BTreeMap<(i32, String), Yield>,
    /// By generator.
    pub preferences: BTreeMap<String, PreferenceStats>,
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

impl DatasetStats {
    /// Creates empty statistics; `seed` selects the samples.
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

    /// Counts the questions that a wave's generators generated.
    pub fn record_generated(&mut self, wave: &WaveStages<'_>) {
        for sealed in wave.by_stage(Stage::Generate) {
            let generator = sealed.input.id.generator.clone().unwrap_or_default();
            self.yields
                .entry((wave.wave, generator))
                .or_default()
                .generated += sealed.rows("rows") + sealed.rows("rejects");
        }
    }

    /// Counts the outcome of a question.
    pub fn record(&mut self, wave: i32, outcome: &QuestionOutcome) {
        let question = outcome.question();
        let counted = self
            .yields
            .entry((wave, question.generator.clone()))
            .or_default();
        let (kind, responses, chosen) = match outcome {
            QuestionOutcome::Accepted(row) => {
                counted.accepted += 1;
                self.agreement.record(row.agreement.into(), Kind::Accepted);
                self.accepted_samples
                    .add(self.seed, outcome, ACCEPTED_SAMPLES);
                (Kind::Accepted, &row.answered.responses, Some(row.chosen))
            }
            QuestionOutcome::Rejected(row) => {
                *counted.rejected.entry((row.stage, row.reason)).or_default() += 1;
                self.rejected_samples.entry(row.reason).or_default().add(
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
        let stats = self.preferences.entry(generator.into()).or_default();
        *stats.rejected.entry((row.stage, row.reason)).or_default() += 1;
    }

    /// Returns the funnel over all waves and generators.
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

    /// Returns the rejected questions over all waves and generators, by stage and reason.
    pub fn rejected(&self) -> BTreeMap<(Stage, RejectReason), i64> {
        let mut rejected = BTreeMap::new();
        for (stage_and_reason, count) in self.yields.values().flat_map(|counted| &counted.rejected)
        {
            *rejected.entry(*stage_and_reason).or_default() += count;
        }
        rejected
    }

    /// Checks for every wave and generator that generated = accepted + rejected.
    ///
    /// # Errors
    /// Names the first wave and generator that does not add up.
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
