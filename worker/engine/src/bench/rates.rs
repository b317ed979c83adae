//! Puts together what a file of rates holds, for `scalequest plan`: medians of what the stages themselves do.

use std::path::Path;
use std::time::Instant;

use scalequest_crds::rates::{RatedModel, ServingRates, StepRate};
use scalequest_crds::run::Arithmetic as Named;

use super::{Bench, Case};
use crate::inference::InferenceError;
use crate::model::{Checkpoint, ModelError};

/// Batches for which a step is measured. A stage has at most the last one in flight.
const BATCHES: [usize; 5] = [1, 2, 4, 12, 32];

/// Tokens of the prompts before the steps that are measured, and steps.
const DECODE: (usize, usize) = (96, 8);

impl Bench {
    /// Measures serving, under the name that the spec has for the arithmetic.
    ///
    /// # Errors
    /// The model gives values that are not finite, or its context is too short.
    pub fn serving(
        &self,
        arithmetic: Named,
        check_seconds: f64,
    ) -> Result<ServingRates, InferenceError> {
        let read = Case::Prefill {
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
            arithmetic,
            load_seconds: check_seconds + self.load_seconds,
            read_tokens_per_second: self.rate(&read)?,
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

/// Which model lies at `path`, and the seconds that a worker takes to check that and to read its tokenizer.
///
/// # Errors
/// It cannot be opened or read.
pub fn rated_model(path: &Path) -> Result<(RatedModel, f64), ModelError> {
    let start = Instant::now();
    let checkpoint = Checkpoint::open(path)?;
    let digest = checkpoint.digest()?;
    checkpoint.tokenizer()?;
    let seconds = start.elapsed().as_secs_f64();
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let model = RatedModel {
        path: whole.display().to_string(),
        digest,
        parameters: i64::try_from(checkpoint.config().parameter_count()).unwrap_or(i64::MAX),
    };
    Ok((model, seconds))
}
