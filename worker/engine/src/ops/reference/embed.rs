//! Embeddings: rows of a matrix by token.

use candle_core::{Result, Tensor};

/// The rows of `weight` (vocab, hidden) that `ids` (n) u32 name, as (n, hidden).
///
/// # Errors
/// A token lies beyond the vocabulary.
pub fn embed(weight: &Tensor, ids: &Tensor) -> Result<Tensor> {
    weight.index_select(ids, 0)
}
