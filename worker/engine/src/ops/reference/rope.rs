//! Rotary position embedding.

use candle_core::{D, Result, Tensor};

/// Rotates feature `j` with feature `j + head_dim / 2` of every head by its position's angle.
///
/// `x`: (batch, heads, tokens, head_dim); `cos`, `sin`: (batch, 1, tokens, head_dim / 2), f32.
///
/// # Errors
/// The shapes do not fit.
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let first = x.narrow(D::Minus1, 0, half)?;
    let second = x.narrow(D::Minus1, half, half)?;
    let rotated_first = (first.broadcast_mul(cos)? - second.broadcast_mul(sin)?)?;
    let rotated_second = (first.broadcast_mul(sin)? + second.broadcast_mul(cos)?)?;
    Tensor::cat(&[rotated_first, rotated_second], D::Minus1)
}
