//! What is learnt, as the training loop sees it: units of data and their loss. It knows no loop.

use candle_core::Tensor;

use super::TrainingError;
use super::draw::Draws;
use crate::model::Decoder;

/// What is learnt: units of data (a packed row, a pair, a target) and their loss.
pub trait Objective {
    /// Names of the measures that [`Part::measures`] sums.
    fn measures(&self) -> &'static [&'static str] {
        &[]
    }

    /// The units of one epoch, in the order in which they are learnt; each is a list of example indices.
    fn units(&self, draws: &mut Draws) -> Vec<Vec<usize>>;

    /// Rows and tokens in the longest row that a unit takes in a batch.
    fn extent(&self, unit: &[usize]) -> (usize, usize);

    /// What a unit counts for in the mean: learnt tokens, pairs, or targets.
    fn weight(&self, unit: &[usize]) -> f64;

    /// The summed loss of some units as a differentiable scalar.
    ///
    /// # Errors
    /// As the forward pass.
    fn loss(&self, model: &Decoder, units: &[&[usize]]) -> Result<Part, TrainingError>;

    /// One bounded piece of what must be known of the untrained model; true when there is no more to do.
    ///
    /// # Errors
    /// As the forward pass.
    fn prepare(&mut self, _model: &Decoder) -> Result<bool, TrainingError> {
        Ok(true)
    }

    /// What [`Objective::prepare`] found so far, to be kept in checkpoints.
    fn notes(&self) -> &[f32] {
        &[]
    }

    /// Takes back the notes of a checkpoint.
    ///
    /// # Errors
    /// Says why they cannot be this objective's.
    fn take_notes(&mut self, _notes: Vec<f32>) -> Result<(), String> {
        Ok(())
    }
}

/// The loss of one micro-batch.
pub struct Part {
    /// Summed over the units, a scalar f32.
    pub loss: Tensor,
    /// Summed over the units.
    pub measures: Vec<f64>,
}
