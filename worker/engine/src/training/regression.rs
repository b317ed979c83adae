//! Regression with a scalar head, such as a reward head (paper, section 3.3): the head reads the last token's hidden state and the mean squared
//! error to the target is minimised. The output is the head's plain value, not squashed: the same kind of model
//! serves rewards, which have no range, and a fail rate predicted slightly outside 0 to 1 still orders questions.

use candle_core::Tensor;

use super::TrainingError;
use super::batch::Batch;
use super::objective::{BatchLoss, Objective};
use super::rng::KeyedRng;
use crate::model::Decoder;

/// A sequence and the number to predict for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// All tokens; the last one's hidden state is read.
    pub tokens: Vec<u32>,
    /// The number.
    pub value: f32,
}

/// The regression objective. Metric: `error`, the mean absolute error.
pub struct RegressionObjective {
    targets: Vec<Target>,
    dropped: usize,
}

impl RegressionObjective {
    /// Takes targets of at most `max_length` tokens; longer ones are dropped and counted, because the number belongs to the
    /// whole sequence.
    ///
    /// # Errors
    /// No target is left, or one is not a finite number.
    pub fn new(mut targets: Vec<Target>, max_length: usize) -> Result<Self, TrainingError> {
        let all = targets.len();
        targets.retain(|target| (1..=max_length).contains(&target.tokens.len()));
        if targets.is_empty() {
            let reason = format!("{all} targets, none of them within {max_length} tokens");
            return Err(TrainingError::NoExamples(reason));
        }
        if let Some(index) = targets.iter().position(|target| !target.value.is_finite()) {
            return Err(TrainingError::NoExamples(format!(
                "target {index} is {}",
                targets[index].value
            )));
        }
        Ok(Self {
            dropped: all - targets.len(),
            targets,
        })
    }

    /// Returns the number of targets that were too long.
    pub fn dropped(&self) -> usize {
        self.dropped
    }
}

impl Objective for RegressionObjective {
    fn metrics(&self) -> &'static [&'static str] {
        &["error"]
    }

    fn units(&self, rng: &mut KeyedRng) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..self.targets.len()).collect();
        rng.shuffle(&mut order);
        order.into_iter().map(|index| vec![index]).collect()
    }

    fn extent(&self, unit: &[usize]) -> (usize, usize) {
        (
            unit.len(),
            unit.iter()
                .map(|&index| self.targets[index].tokens.len())
                .max()
                .unwrap_or(0),
        )
    }

    fn weight(&self, unit: &[usize]) -> f64 {
        unit.len() as f64
    }

    fn loss(&self, model: &Decoder, units: &[&[usize]]) -> Result<BatchLoss, TrainingError> {
        let targets: Vec<&Target> = units
            .iter()
            .flat_map(|unit| unit.iter())
            .map(|&i| &self.targets[i])
            .collect();
        let tokens: Vec<&[u32]> = targets
            .iter()
            .map(|target| target.tokens.as_slice())
            .collect();
        let predicted = predict(model, &tokens)?;
        let values = Tensor::from_vec(
            targets.iter().map(|t| t.value).collect(),
            targets.len(),
            predicted.device(),
        )?;
        let errors = (predicted - values)?;
        let error = f64::from(errors.abs()?.sum_all()?.to_scalar::<f32>()?);
        Ok(BatchLoss {
            loss: errors.sqr()?.sum_all()?,
            metrics: vec![error],
        })
    }
}

/// Computes the scalar head's value at the last token of each sequence: (sequences) f32.
///
/// # Errors
/// The head is not scalar, or a sequence is empty.
pub fn predict(model: &Decoder, sequences: &[&[u32]]) -> Result<Tensor, TrainingError> {
    let rows: Vec<Vec<&[u32]>> = sequences.iter().map(|tokens| vec![*tokens]).collect();
    let batch = Batch::collate(&rows)?;
    let places: Vec<u32> = sequences
        .iter()
        .enumerate()
        .map(|(row, tokens)| (row * batch.longest + tokens.len().saturating_sub(1)) as u32)
        .collect();
    let hidden = model.hidden(&batch.ids, &batch.positions, &batch.segments)?;
    let width = hidden.dim(2)?;
    let places = Tensor::from_vec(places, sequences.len(), hidden.device())?;
    let last = hidden.reshape(((), width))?.index_select(&places, 0)?;
    Ok(model.logits(&last)?.squeeze(1)?)
}
