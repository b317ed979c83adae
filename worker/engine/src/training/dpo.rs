//! Question preference optimisation (paper, section 3.2) by DPO (arXiv 2305.18290): for each pair
//! `-log sigmoid(beta * ((log pi(chosen) - log ref(chosen)) - (log pi(rejected) - log ref(rejected))))`, where the
//! log-probabilities are those of the question tokens after the prefix, the end token included. The reference is
//! the model before the first step; its log-probabilities (reference log-probs) are computed once and saved in checkpoints.

use candle_core::Tensor;

use super::TrainingError;
use super::batch::{Example, log_probabilities};
use super::micro_batches::micro_batches;
use super::objective::{BatchLoss, Objective};
use super::rng::KeyedRng;
use crate::heartbeat::beat;
use crate::model::Decoder;

/// A preference pair: a question that is preferred to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreferencePair {
    /// The rewrite.
    pub chosen: Example,
    /// The original.
    pub rejected: Example,
}

/// The DPO objective. Metrics: `margin`, the mean of what is inside the sigmoid, and
/// `accuracy`, the share of pairs whose margin is positive.
pub struct DpoObjective {
    pairs: Vec<PreferencePair>,
    beta: f64,
    /// Log-probabilities (chosen, rejected) of the reference model, pairs in order; shorter while they are being computed.
    reference_log_probs: Vec<f32>,
    dropped: usize,
}

/// Pairs whose reference log-probs are computed between two checks of whether to stop.
const PAIRS_AT_ONCE: usize = 16;

impl DpoObjective {
    /// Takes pairs of which no member may be longer than `max_length` tokens: a longer pair is dropped and counted, because
    /// to compare cut texts would reward where the cut falls. `beta` weighs the pull towards the reference.
    ///
    /// # Errors
    /// No pair is left.
    pub fn new(
        mut pairs: Vec<PreferencePair>,
        beta: f64,
        max_length: usize,
    ) -> Result<Self, TrainingError> {
        let all = pairs.len();
        pairs.retain(|pair| {
            [&pair.chosen, &pair.rejected]
                .iter()
                .all(|e| e.tokens.len() <= max_length && !e.loss_range().is_empty())
        });
        if pairs.is_empty() {
            let reason = format!("{all} preference pairs, none of them within {max_length} tokens");
            return Err(TrainingError::NoExamples(reason));
        }
        Ok(Self {
            dropped: all - pairs.len(),
            pairs,
            beta,
            reference_log_probs: Vec::new(),
        })
    }

    /// Returns the number of pairs that were too long.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// Returns the number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Returns false: the objective has at least one pair.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Computes all reference log-probs with `model` at once.
    ///
    /// # Errors
    /// As the forward pass.
    pub fn with_reference(mut self, model: &Decoder) -> Result<Self, TrainingError> {
        while !self.prepare(model)? {}
        Ok(self)
    }

    /// Log-probabilities (chosen, rejected) of the pairs: (2 * pairs) f32.
    fn log_probabilities(&self, model: &Decoder, pairs: &[usize]) -> Result<Tensor, TrainingError> {
        let rows: Vec<Vec<&Example>> = pairs
            .iter()
            .flat_map(|&index| {
                [
                    vec![&self.pairs[index].chosen],
                    vec![&self.pairs[index].rejected],
                ]
            })
            .collect();
        log_probabilities(model, &rows)?.sums()
    }
}

impl Objective for DpoObjective {
    fn metrics(&self) -> &'static [&'static str] {
        &["margin", "accuracy"]
    }

    fn units(&self, rng: &mut KeyedRng) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..self.pairs.len()).collect();
        rng.shuffle(&mut order);
        order.into_iter().map(|index| vec![index]).collect()
    }

    fn extent(&self, unit: &[usize]) -> (usize, usize) {
        let longest = |index: &usize| {
            let PreferencePair { chosen, rejected } = &self.pairs[*index];
            chosen.tokens.len().max(rejected.tokens.len())
        };
        (2 * unit.len(), unit.iter().map(longest).max().unwrap_or(0))
    }

    fn weight(&self, unit: &[usize]) -> f64 {
        unit.len() as f64
    }

    fn state(&self) -> &[f32] {
        &self.reference_log_probs
    }

    fn load_state(&mut self, state: Vec<f32>) -> Result<(), String> {
        if state.len() > 2 * self.pairs.len() || !state.len().is_multiple_of(2) {
            return Err(format!(
                "it has {} reference values for {} pairs",
                state.len(),
                self.pairs.len()
            ));
        }
        self.reference_log_probs = state;
        Ok(())
    }

    fn prepare(&mut self, model: &Decoder) -> Result<bool, TrainingError> {
        let from = self.reference_log_probs.len() / 2;
        let to = (from + PAIRS_AT_ONCE).min(self.pairs.len());
        let units: Vec<Vec<usize>> = (from..to).map(|index| vec![index]).collect();
        for pairs in micro_batches(self, &units) {
            let values = self
                .log_probabilities(model, &pairs.concat())?
                .detach()
                .to_vec1::<f32>()?;
            self.reference_log_probs.extend(values);
            beat();
        }
        Ok(to == self.pairs.len())
    }

    fn loss(&self, model: &Decoder, units: &[&[usize]]) -> Result<BatchLoss, TrainingError> {
        let pairs = units.concat();
        let reference: Vec<f32> = pairs
            .iter()
            .flat_map(|&index| &self.reference_log_probs[2 * index..2 * index + 2])
            .copied()
            .collect();
        let reference = Tensor::from_vec(reference, 2 * pairs.len(), model.device())?;
        let gains =
            (self.log_probabilities(model, &pairs)? - reference)?.reshape((pairs.len(), 2))?;
        let margins = ((gains.narrow(1, 0, 1)? - gains.narrow(1, 1, 1)?)? * self.beta)?;
        let values = margins.flatten_all()?.to_vec1::<f32>()?;
        let margin = values.iter().map(|&margin| f64::from(margin)).sum();
        let accuracy = values.iter().filter(|margin| **margin > 0.0).count() as f64;
        Ok(BatchLoss {
            loss: negative_log_sigmoid(&margins)?.sum_all()?,
            metrics: vec![margin, accuracy],
        })
    }
}

/// `-log sigmoid(x) = log(1 + exp(-x))`, safe for any x. Written over a detached maximum, since the usual form
/// over `abs` has a wrong gradient at 0, which is where DPO starts.
fn negative_log_sigmoid(x: &Tensor) -> candle_core::Result<Tensor> {
    let largest = x.neg()?.relu()?.detach();
    let of_zero = largest.neg()?.exp()?;
    let of_x = (x.neg()? - &largest)?.exp()?;
    (of_zero + of_x)?.log()? + largest
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn negative_log_sigmoid_gradient_at_zero() {
        let x = Var::from_slice(&[0.0_f32, 1.5, -1.5, 60.0, -60.0], 5, &Device::Cpu).unwrap();
        let y = negative_log_sigmoid(x.as_tensor()).unwrap();
        let gradient = y
            .sum_all()
            .unwrap()
            .backward()
            .unwrap()
            .get(&x)
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        let values = y.to_vec1::<f32>().unwrap();
        for (i, x) in [0.0_f64, 1.5, -1.5, 60.0, -60.0].into_iter().enumerate() {
            let expected = if x > 0.0 {
                (-x).exp().ln_1p()
            } else {
                x.exp().ln_1p() - x
            };
            assert!(
                (f64::from(values[i]) - expected).abs() < 1e-5,
                "value at {x}"
            );
            let slope = -1.0 / (1.0 + x.exp());
            assert!(
                (f64::from(gradient[i]) - slope).abs() < 1e-6,
                "gradient at {x}: {}",
                gradient[i]
            );
        }
    }
}
