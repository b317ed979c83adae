//! Log-probabilities of tokens, and the loss made of them.

use candle_core::{D, Result, Tensor};

/// The log-probability of each target: `logits` (n, vocab) and `targets` (n) u32 give (n) f32.
///
/// # Errors
/// The shapes do not fit, or a target lies beyond the vocabulary.
pub fn token_log_probabilities(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let largest = logits.max_keepdim(D::Minus1)?.detach();
    let shifted = logits.broadcast_sub(&largest)?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let chosen = shifted.gather(&targets.unsqueeze(1)?, D::Minus1)?;
    (chosen - log_sum)?.squeeze(1)
}

/// The log-probability of each target by a head: `hidden` (n, hidden), `weight` (vocab, hidden) and `targets` (n) u32 give (n) f32.
///
/// # Errors
/// As [`token_log_probabilities`].
pub fn head_log_probabilities(
    hidden: &Tensor,
    weight: &Tensor,
    targets: &Tensor,
) -> Result<Tensor> {
    token_log_probabilities(&super::linear(hidden, weight, None)?, targets)
}

/// The mean negative log-probability of the targets, weighted: `weights` (n) f32 are 1 for a token that
/// counts and 0 for one that does not (a prefix, padding). Zero where none counts.
///
/// # Errors
/// As [`token_log_probabilities`].
pub fn cross_entropy(logits: &Tensor, targets: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let counted = f64::from(weights.sum_all()?.to_scalar::<f32>()?);
    let total = (token_log_probabilities(logits, targets)? * weights)?.sum_all()?;
    total * (-1.0 / counted.max(1.0))
}
