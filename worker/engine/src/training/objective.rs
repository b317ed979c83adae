//! A training objective as the training loop sees it: units of data and their loss. It knows no loop.

use candle_core::Tensor;

use super::TrainingError;
use super::rng::KeyedRng;
use crate::model::Decoder;

/// A training objective: units of data (a packed row, a pair, a target) and their loss.
pub trait Objective {
    /// Returns the names of the metrics that [`BatchLoss::metrics`] sums.
    fn metrics(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns the units of one epoch, in training order; each is a list of example indices.
    fn units(&self, rng: &mut KeyedRng) -> Vec<Vec<usize>>;

    /// Returns the rows of a unit in a batch, and the tokens of its longest row.
    fn extent(&self, unit: &[usize]) -> (usize, usize);

    /// Returns the weight of a unit in the mean loss: its tokens in the loss, its pairs, or its targets.
    fn weight(&self, unit: &[usize]) -> f64;

    /// Computes the summed loss of some units as a differentiable scalar.
    ///
    /// # Errors
    /// As the forward pass.
    fn loss(&self, model: &Decoder, units: &[&[usize]]) -> Result<BatchLoss, TrainingError>;

    /// Computes one bounded piece of what the objective needs of the untrained model, such as DPO's reference log-probs. Returns true when
    /// nothing is left to do.
    ///
    /// # Errors
    /// As the forward pass.
    fn prepare(&mut self, _model: &Decoder) -> Result<bool, TrainingError> {
        Ok(true)
    }

    /// Returns what [`Objective::prepare`] has computed so far; it is saved in checkpoints.
    fn state(&self) -> &[f32] {
        &[]
    }

    /// Restores the state of a checkpoint.
    ///
    /// # Errors
    /// Why it cannot be this objective's state.
    fn load_state(&mut self, _state: Vec<f32>) -> Result<(), String> {
        Ok(())
    }
}

/// The loss of one micro-batch.
pub struct BatchLoss {
    /// Summed over the units, a scalar f32.
    pub loss: Tensor,
    /// Summed over the units.
    pub metrics: Vec<f64>,
}
