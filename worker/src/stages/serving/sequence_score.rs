//! Scores of sequences, for those that fit the model's context.

use scalequest_engine::inference::{BatchLimits, InferenceError, Scorer};

use super::EngineModel;
use crate::stages::StageError;

/// The score of a sequence, and its length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SequenceScore {
    /// The score; `None` if the sequence does not fit the model's context.
    pub value: Option<f64>,
    /// Tokens of the sequence.
    pub tokens: i64,
}

impl EngineModel {
    /// Scores the sequences that fit the context.
    pub(super) fn score_sequences(
        &self,
        sequences: Vec<Vec<u32>>,
        score: impl FnOnce(&Scorer<'_>, &[Vec<u32>]) -> Result<Vec<f64>, InferenceError>,
    ) -> Result<Vec<SequenceScore>, StageError> {
        let fits = |tokens: &Vec<u32>| {
            (1..=self.engine.config().max_position_embeddings).contains(&tokens.len())
        };
        let lengths: Vec<_> = sequences
            .iter()
            .map(|tokens| (tokens.len() as i64, fits(tokens)))
            .collect();
        let fitting: Vec<_> = sequences.into_iter().filter(fits).collect();
        let scorer = Scorer::new(&self.engine, BatchLimits::scoring());
        let mut values = score(&scorer, &fitting)
            .map_err(|error| self.stage_error(error))?
            .into_iter();
        Ok(lengths
            .into_iter()
            .map(|(tokens, fits)| SequenceScore {
                value: if fits { values.next() } else { None },
                tokens,
            })
            .collect())
    }
}
