//! How fast a model generates and scores: medians of cases as the stages of a run have them.

use super::{Bench, Case};
use crate::inference::InferenceError;

/// Batches for which a step is measured. A stage has at most the last one in flight.
const BATCHES: [usize; 5] = [1, 2, 4, 12, 32];

/// Tokens of the prompts before the steps that are measured, and steps.
const DECODE: (usize, usize) = (96, 8);

/// How fast a model generates and scores.
#[derive(Clone, Debug, PartialEq)]
pub struct ServingRates {
    /// Prompt tokens computed in a second (prefill), several prompts at once.
    pub prefill_tokens_per_second: f64,
    /// Tokens scored in a second, sequences of different lengths at once.
    pub score_tokens_per_second: f64,
    /// Decoding by batch, the smallest first.
    pub steps: Vec<StepRate>,
}

/// What a step takes that decodes one token for each row of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRate {
    /// Rows in the batch.
    pub rows: usize,
    /// Seconds, choosing the likeliest token included.
    pub seconds: f64,
}

impl Bench {
    /// Measures generating and scoring.
    ///
    /// # Errors
    /// The model gives values that are not finite, or its context is too short.
    pub fn serving(&self) -> Result<ServingRates, InferenceError> {
        let prefill = Case::Prefill {
            rows: 4,
            prompt: 128,
        };
        let score = Case::Scoring {
            lengths: (0..8).map(|row| 64 + 32 * row).collect(),
        };
        let (prompt, tokens) = DECODE;
        let steps = BATCHES
            .iter()
            .map(|rows| {
                let (rows, tokens) = (*rows, tokens);
                let case = Case::Decode {
                    rows,
                    prompt,
                    tokens,
                };
                let seconds = 1.0 / self.rate(&case)? * rows as f64;
                Ok(StepRate { rows, seconds })
            })
            .collect::<Result<_, InferenceError>>()?;
        Ok(ServingRates {
            prefill_tokens_per_second: self.rate(&prefill)?,
            score_tokens_per_second: self.rate(&score)?,
            steps,
        })
    }

    /// Tokens in a second, the median of three.
    fn rate(&self, case: &Case) -> Result<f64, InferenceError> {
        let mut rates = [0.0; 3];
        for rate in &mut rates {
            let measured = self.run(case)?;
            *rate = measured.tokens as f64 / measured.seconds.max(1e-9);
        }
        rates.sort_by(f64::total_cmp);
        Ok(rates[1])
    }
}
