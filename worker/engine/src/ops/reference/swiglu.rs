//! The gated activation of the MLP.

use candle_core::{Result, Tensor};

/// `silu(gate) * up` (Shazeer, 2020), element by element.
///
/// # Errors
/// The shapes differ.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}
