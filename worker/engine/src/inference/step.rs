//! One step of the engine over all scheduled sequences, within one budget of tokens: decoding rows take one token each, prompts share what
//! is left (chunked prefill). How a prompt is cut into chunks changes no result.

use super::{Engine, InferenceError, KeyValueCache, Segment};

/// A sequence with tokens to compute.
pub(super) struct ScheduledSequence<'a> {
    /// The tokens that are not in the KV cache yet; at least one.
    pub(super) pending: &'a [u32],
    /// The KV cache of the tokens before them.
    pub(super) cache: &'a mut KeyValueCache,
}

/// What a step has computed.
pub(super) struct StepOutput {
    /// Tokens taken from each sequence's pending ones.
    pub(super) taken: Vec<usize>,
    /// The sequences that have no pending tokens left.
    pub(super) complete: Vec<usize>,
    /// The hidden states of their last tokens, one row after the other.
    pub(super) hidden: Vec<f32>,
}

/// Computes at most `budget` tokens: first one of each sequence that has only one pending, then as many as are left of the others, in
/// order. If nothing is decoding, at least one token of a prompt is computed.
///
/// # Errors
/// As [`Engine::last_hidden`]; rows count from the first sequence.
pub(super) fn run_step(
    engine: &Engine,
    budget: usize,
    sequences: &mut [ScheduledSequence<'_>],
) -> Result<StepOutput, InferenceError> {
    let pending = sequences.iter().map(|sequence| sequence.pending.len());
    let taken = split_budget(budget, pending);
    let active: Vec<usize> = (0..sequences.len()).filter(|row| taken[*row] > 0).collect();
    let mut segments: Vec<Segment<'_>> = sequences
        .iter_mut()
        .zip(&taken)
        .filter(|(_, taken)| **taken > 0)
        .map(|(sequence, taken)| Segment {
            tokens: &sequence.pending[..*taken],
            cache: sequence.cache,
        })
        .collect();
    let all = engine
        .last_hidden(&mut segments)
        .map_err(|error| error.with_rows(|place| format!("row {}", active[place])))?;
    let width = engine.config().hidden_size;
    let (mut complete, mut hidden) = (Vec::new(), Vec::new());
    for (row, state) in active.into_iter().zip(all.chunks_exact(width)) {
        if taken[row] == sequences[row].pending.len() {
            complete.push(row);
            hidden.extend_from_slice(state);
        }
    }
    Ok(StepOutput {
        taken,
        complete,
        hidden,
    })
}

/// Returns how many tokens of each sequence a step computes, given how many each has pending.
fn split_budget(budget: usize, pending: impl Iterator<Item = usize> + Clone) -> Vec<usize> {
    let decoding = pending.clone().filter(|pending| *pending == 1).count();
    let mut left = budget
        .saturating_sub(decoding)
        .max(usize::from(decoding == 0));
    pending
        .map(|pending| match pending {
            1 => 1,
            pending => {
                let share = pending.min(left);
                left -= share;
                share
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::split_budget;

    #[test]
    fn decoding_goes_before_prefill() {
        let cases: [(usize, &[usize], &[usize]); 6] = [
            (10, &[1, 1, 30, 5], &[1, 1, 8, 0]),
            (10, &[4, 1, 5, 9], &[4, 1, 5, 0]),
            (10, &[4, 30], &[4, 6]),
            // More rows than the budget: none waits for a token of its own.
            (2, &[1, 1, 1, 7], &[1, 1, 1, 0]),
            (0, &[7, 3], &[1, 0]),
            (100, &[7, 3, 1], &[7, 3, 1]),
        ];
        for (budget, pending, expected) in cases {
            assert_eq!(split_budget(budget, pending.iter().copied()), expected);
        }
    }
}
