//! Which units of data each step learns from, and how a step is cut into parts that fit into memory.

use super::TrainingError;
use super::objective::Objective;
use super::rng::KeyedRng;
use super::settings::Plan;

/// Tokens (padding included) of a micro-batch. A constant and not a measure of the machine's memory, because
/// the split decides the order in which gradients are added, and so bits. What a forward and backward pass keep
/// grows with it: at 1,024 tokens a model of 135M parameters took 8 GB.
pub const MICRO_BATCH_TOKENS: usize = 512;

/// All steps' units, over all epochs. The last batch of an epoch may be smaller.
pub(super) fn batches<O: Objective>(
    objective: &O,
    plan: &Plan<'_>,
) -> Result<Vec<Vec<Vec<usize>>>, TrainingError> {
    let at_least_one = |field: &'static str, value: usize| match value {
        0 => Err(TrainingError::Setting {
            field,
            value: value.to_string(),
            reason: "expected 1 or more".into(),
        }),
        _ => Ok(value),
    };
    let size = at_least_one("batchSize", plan.settings.batch_size)?;
    let epochs = at_least_one("epochs", plan.settings.epochs)?;
    let mut batches = Vec::new();
    for epoch in 0..epochs {
        let mut rng = KeyedRng::new(
            plan.seed,
            &format!("{} shuffle", plan.purpose),
            epoch as u64,
        );
        let mut units = objective.units(&mut rng).into_iter().peekable();
        while units.peek().is_some() {
            batches.push(units.by_ref().take(size).collect());
        }
    }
    if batches.is_empty() {
        return Err(TrainingError::NoExamples("no unit of data was made".into()));
    }
    Ok(batches)
}

/// Splits units, in order, into micro-batches that stay within a fixed number of tokens, padding included; a unit
/// that is larger stands alone.
pub fn micro_batches<'a, O: Objective>(
    objective: &O,
    units: &'a [Vec<usize>],
) -> Vec<Vec<&'a [usize]>> {
    let mut batches: Vec<Vec<&[usize]>> = Vec::new();
    let (mut rows, mut longest) = (0, 0);
    for unit in units {
        let (more, length) = objective.extent(unit);
        match batches.last_mut() {
            Some(batch) if (rows + more) * longest.max(length) <= MICRO_BATCH_TOKENS => {
                batch.push(unit);
                (rows, longest) = (rows + more, longest.max(length));
            }
            _ => {
                batches.push(vec![unit]);
                (rows, longest) = (more, length);
            }
        }
    }
    batches
}

/// Tokens of a unit, padding included.
pub(super) fn tokens_of<O: Objective>(objective: &O, unit: &[usize]) -> u64 {
    let (rows, longest) = objective.extent(unit);
    (rows * longest) as u64
}
