//! The gradient of one step: the mean loss over a batch, taken apart into micro-batches whose gradients are
//! added in a fixed order. It changes no weight.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::micro_batches::micro_batches;
use super::objective::Objective;
use super::{Trainee, TrainingError};

/// Loss and gradient of one batch.
pub struct Gradient {
    /// Mean loss.
    pub loss: f64,
    /// Means of the objective's measures.
    pub measures: Vec<f64>,
    /// The mean loss's gradient for each variable by name, f32.
    pub values: BTreeMap<String, Tensor>,
}

/// The gradient of `batch` for every variable of `trainee`; nothing where `should_stop`, asked before each
/// micro-batch, says so.
///
/// # Errors
/// As the objective's loss; or a variable has no gradient, which means that the graph is cut.
pub fn gradient<O: Objective>(
    trainee: &Trainee,
    objective: &O,
    batch: &[Vec<usize>],
    should_stop: &mut dyn FnMut() -> bool,
) -> Result<Option<Gradient>, TrainingError> {
    let weight: f64 = batch.iter().map(|unit| objective.weight(unit)).sum();
    let mut sum = Gradient {
        loss: 0.0,
        measures: vec![0.0; objective.measures().len()],
        values: BTreeMap::new(),
    };
    for units in micro_batches(objective, batch) {
        if should_stop() {
            return Ok(None);
        }
        let part = objective.loss(trainee.decoder(), &units)?;
        sum.loss += f64::from(part.loss.to_scalar::<f32>()?) / weight;
        sum.measures
            .iter_mut()
            .zip(&part.measures)
            .for_each(|(sum, value)| *sum += value / weight);
        let mut found = (part.loss * (1.0 / weight))?.backward()?;
        for (name, variable) in trainee.variables() {
            let value = found
                .remove(variable)
                .ok_or_else(|| TrainingError::NoGradient(name.clone()))?;
            let value = match sum.values.remove(name) {
                Some(sum) => (sum + value)?,
                None => value,
            };
            sum.values.insert(name.clone(), value);
        }
    }
    Ok(Some(sum))
}
