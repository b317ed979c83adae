//! Causal attention with grouped heads over packed sequences.

use candle_core::{D, Result, Tensor};

use super::rope;

/// What a hidden place adds to a score; exp of it is zero in f32.
const HIDDEN: f32 = f32::NEG_INFINITY;

/// The additive mask of packed rows: a token sees those of its own segment that are not after it, and of these the latest
/// `window`, itself included, where there is one.
///
/// `segments`: (batch, tokens) u32, equal within a segment, whose tokens lie side by side. Returns (batch, 1, tokens, tokens) f32 of 0 and
/// negative infinity. Every token sees itself (a window is at least 1), so no row is all hidden.
///
/// # Errors
/// `segments` is not a u32 matrix.
pub fn segment_mask(segments: &Tensor, window: Option<usize>) -> Result<Tensor> {
    let (batch, tokens) = segments.dims2()?;
    let mut mask = Vec::with_capacity(batch * tokens * tokens);
    for row in segments.to_vec2::<u32>()? {
        for (query, segment) in row.iter().enumerate() {
            let first = window.map_or(0, |window| (query + 1).saturating_sub(window));
            let visible = |key: usize| (first..=query).contains(&key) && row[key] == *segment;
            mask.extend((0..tokens).map(|key| if visible(key) { 0.0 } else { HIDDEN }));
        }
    }
    Tensor::from_vec(mask, (batch, 1, tokens, tokens), segments.device())
}

/// Attention from projections on: heads are split, queries and keys rotated by their positions, and the heads' results put beside each
/// other.
///
/// `q`: (batch, tokens, heads * head_dim); `k`, `v`: (batch, tokens, key_heads * head_dim); `cos`, `sin`: (batch, 1, tokens, head_dim / 2);
/// `mask`: (batch, 1, tokens, tokens). Returns the shape of `q`.
///
/// # Errors
/// The shapes do not fit.
pub fn attend([q, k, v]: [&Tensor; 3], [cos, sin]: [&Tensor; 2], mask: &Tensor) -> Result<Tensor> {
    let head_dim = 2 * cos.dim(D::Minus1)?;
    let heads = |x: &Tensor| {
        let (batch, tokens, features) = x.dims3()?;
        x.reshape((batch, tokens, features / head_dim, head_dim))?
            .transpose(1, 2)?
            .contiguous()
    };
    let (rotated_q, rotated_k) = (rope(&heads(q)?, cos, sin)?, rope(&heads(k)?, cos, sin)?);
    attention(&rotated_q, &rotated_k, &heads(v)?, mask)?
        .transpose(1, 2)?
        .reshape(q.shape())
}

/// `softmax(q k^T / sqrt(head_dim) + mask) v`, query head `h` with key head `h / group`.
///
/// `q`: (batch, heads, tokens, head_dim); `k`, `v`: (batch, key_heads, tokens, head_dim); `mask`:
/// (batch, 1, tokens, tokens). Returns the shape of `q`.
///
/// # Errors
/// The shapes do not fit.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let (batch, heads, tokens, head_dim) = q.dims4()?;
    let key_heads = k.dim(1)?;
    let group = heads / key_heads;
    // The heads of a group become rows of one matmul with their shared keys: nothing is repeated.
    let q = (q * (1.0 / (head_dim as f64).sqrt()))?.reshape((
        batch,
        key_heads,
        group * tokens,
        head_dim,
    ))?;
    let scores = q
        .matmul(&k.transpose(2, 3)?.contiguous()?)?
        .reshape((batch, heads, tokens, tokens))?;
    let scores = scores.broadcast_add(mask)?;
    let weights = softmax(&scores)?.reshape((batch, key_heads, group * tokens, tokens))?;
    weights
        .matmul(&v.contiguous()?)?
        .reshape((batch, heads, tokens, head_dim))
}

fn softmax(scores: &Tensor) -> Result<Tensor> {
    // The maximum only guards against overflow; its gradient is zero.
    let largest = scores.max_keepdim(D::Minus1)?.detach();
    let weights = scores.broadcast_sub(&largest)?.exp()?;
    weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)
}
