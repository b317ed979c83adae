//! A linear layer.

use candle_core::{Result, Tensor};

/// `x W^T + b`: (.., in) with W of shape (out, in) gives (.., out).
///
/// # Errors
/// The shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (out, inner) = weight.dims2()?;
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = out;
    }
    // One large matmul instead of a broadcast batch of small ones.
    let y = x
        .reshape(((), inner))?
        .matmul(&weight.t()?)?
        .reshape(shape)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}
