//! The loss of a model on held-out examples, by any objective. Nothing is trained.

use super::TrainingError;
use super::micro_batches::micro_batches;
use super::objective::Objective;
use super::rng::KeyedRng;
use crate::model::Decoder;

/// Loss and metrics of a model by an objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean loss: per token in the loss for questions, per pair or per target otherwise.
    pub loss: f64,
    /// Means of the objective's metrics, in its order.
    pub metrics: Vec<f64>,
    /// What the means are over: tokens, pairs or targets.
    pub weight: f64,
}

/// Evaluates `model` on every example of `objective`.
///
/// # Errors
/// As the forward pass.
pub fn evaluate<O: Objective>(objective: &O, model: &Decoder) -> Result<Evaluation, TrainingError> {
    let units = objective.units(&mut KeyedRng::new(0, "evaluate", 0));
    let (mut loss, mut weight) = (0.0, 0.0);
    let mut metrics = vec![0.0; objective.metrics().len()];
    for units in micro_batches(objective, &units) {
        let part = objective.loss(model, &units)?;
        loss += f64::from(part.loss.to_scalar::<f32>()?);
        weight += units.iter().map(|unit| objective.weight(unit)).sum::<f64>();
        metrics
            .iter_mut()
            .zip(&part.metrics)
            .for_each(|(sum, value)| *sum += value);
    }
    metrics.iter_mut().for_each(|sum| *sum /= weight);
    Ok(Evaluation {
        loss: loss / weight,
        metrics,
        weight,
    })
}
