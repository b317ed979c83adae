//! The gradient of one step: the mean loss over a batch, taken apart into micro-batches whose gradients are
//! added in a fixed order. It changes no weight.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::micro_batches::micro_batches;
use super::objective::Objective;
use super::{TrainableModel, TrainingError};
use crate::heartbeat::beat;
use crate::ops::fused::Gradients;

/// Loss and gradient of one batch.
pub struct Gradient {
    /// Mean loss.
    pub loss: f64,
    /// Means of the objective's metrics.
    pub metrics: Vec<f64>,
    /// The mean loss's gradient for each variable by name, f32.
    pub values: BTreeMap<String, Tensor>,
}

/// The gradient of `batch` for every variable of `model`, made in the memory of `gradients`; nothing where `should_stop`, asked before each
/// micro-batch, says so.
///
/// # Errors
/// As the objective's loss; or a variable has no gradient, which means that the graph is cut.
pub fn gradient<O: Objective>(
    model: &TrainableModel,
    objective: &O,
    batch: &[Vec<usize>],
    gradients: &mut Gradients,
    should_stop: &mut dyn FnMut() -> bool,
) -> Result<Option<Gradient>, TrainingError> {
    let weight: f64 = batch.iter().map(|unit| objective.weight(unit)).sum();
    let mut sum = Gradient {
        loss: 0.0,
        metrics: vec![0.0; objective.metrics().len()],
        values: BTreeMap::new(),
    };
    gradients.forget();
    for units in micro_batches(objective, batch) {
        if should_stop() {
            return Ok(None);
        }
        let part = objective.loss(model.decoder(), &units)?;
        sum.loss += f64::from(part.loss.to_scalar::<f32>()?) / weight;
        sum.metrics
            .iter_mut()
            .zip(&part.metrics)
            .for_each(|(sum, value)| *sum += value / weight);
        let variables = model.variables().values().map(|variable| &**variable);
        gradients.add(&(part.loss * (1.0 / weight))?, variables)?;
        beat();
    }
    for (name, variable) in model.variables() {
        let value = gradients
            .take(variable)
            .ok_or_else(|| TrainingError::NoGradient(name.clone()))?;
        sum.values.insert(name.clone(), value);
    }
    Ok(Some(sum))
}

impl Gradient {
    /// Gives the memory of a gradient that is not read any more to the next.
    pub fn reuse(self, model: &TrainableModel, gradients: &mut Gradients) {
        for (name, value) in self.values {
            gradients.reuse(&model.variables()[&name], value);
        }
    }
}
