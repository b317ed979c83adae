//! Question fine-tuning (paper, section 3.1): supervised fine-tuning (SFT) on questions alone, packed. The loss is the mean negative
//! log-probability over all tokens in the loss of a step: every token of every question and the token that ends it, and nothing of the
//! prefix.

use super::TrainingError;
use super::batch::{Example, log_probabilities};
use super::objective::{BatchLoss, Objective};
use super::packing::pack;
use super::rng::KeyedRng;
use crate::model::Decoder;

/// The SFT objective of question fine-tuning.
pub struct SftObjective {
    examples: Vec<Example>,
    max_length: usize,
    truncated: usize,
}

impl SftObjective {
    /// Takes examples (see [`Example::question`]) to be packed into rows of `max_length` tokens. An example that is
    /// longer is cut there, so its end is not in the loss, which teaches nothing false; such examples are counted.
    ///
    /// # Errors
    /// There are no examples, or the prefix leaves no room for a question.
    pub fn new(mut examples: Vec<Example>, max_length: usize) -> Result<Self, TrainingError> {
        let mut truncated = 0;
        for example in &mut examples {
            if example.tokens.len() > max_length {
                example.tokens.truncate(max_length);
                truncated += 1;
            }
            if example.loss_range().is_empty() {
                return Err(TrainingError::Setting {
                    field: "maxLength",
                    value: max_length.to_string(),
                    reason: format!(
                        "the question prefix alone has {} tokens",
                        example.loss_start
                    ),
                });
            }
        }
        if examples.is_empty() {
            return Err(TrainingError::NoExamples("there are no questions".into()));
        }
        Ok(Self {
            examples,
            max_length,
            truncated,
        })
    }

    /// Returns the number of examples that were truncated to the longest length.
    pub fn truncated(&self) -> usize {
        self.truncated
    }

    /// Returns the examples, truncated if they were too long.
    pub fn examples(&self) -> &[Example] {
        &self.examples
    }
}

impl Objective for SftObjective {
    fn units(&self, rng: &mut KeyedRng) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..self.examples.len()).collect();
        rng.shuffle(&mut order);
        let lengths: Vec<usize> = self
            .examples
            .iter()
            .map(|example| example.tokens.len())
            .collect();
        pack(&lengths, &order, self.max_length)
    }

    fn extent(&self, unit: &[usize]) -> (usize, usize) {
        (
            1,
            unit.iter()
                .map(|&index| self.examples[index].tokens.len())
                .sum(),
        )
    }

    fn weight(&self, unit: &[usize]) -> f64 {
        unit.iter()
            .map(|&index| self.examples[index].loss_range().len())
            .sum::<usize>() as f64
    }

    fn loss(&self, model: &Decoder, units: &[&[usize]]) -> Result<BatchLoss, TrainingError> {
        let rows: Vec<Vec<&Example>> = units
            .iter()
            .map(|unit| unit.iter().map(|&index| &self.examples[index]).collect())
            .collect();
        let loss = log_probabilities(model, &rows)?.values.sum_all()?.neg()?;
        Ok(BatchLoss {
            loss,
            metrics: Vec::new(),
        })
    }
}
