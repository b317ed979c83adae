//! The operations that training differentiates, by either of their bodies.

use candle_core::{Device, Result, Tensor};

use super::{fused, reference};

/// Which body the differentiable operations have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Differentiable {
    /// Composed of candle's elementary operations: the oracle, and what runs on a GPU.
    Reference,
    /// One pass each, on the CPU.
    Fused,
}

macro_rules! by_either {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty),*);)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// The shapes do not fit.
        pub fn $name(self, $($argument: $kind),*) -> Result<Tensor> {
            match self {
                Self::Reference => reference::$name($($argument),*),
                Self::Fused => fused::$name($($argument),*),
            }
        }
    )*};
}

impl Differentiable {
    /// The faster one on a device.
    pub fn on(device: &Device) -> Self {
        match device {
            Device::Cpu => Self::Fused,
            _ => Self::Reference,
        }
    }

    /// The one that takes more memory, of those that this build may choose.
    pub fn largest() -> Self {
        match candle_core::utils::cuda_is_available() {
            true => Self::Reference,
            false => Self::Fused,
        }
    }

    by_either! {
        /// [`reference::linear`].
        linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>);
        /// [`reference::rms_norm`].
        rms_norm(x: &Tensor, weight: &Tensor, eps: f64);
        /// [`reference::rope`].
        rope(x: &Tensor, cos: &Tensor, sin: &Tensor);
        /// [`reference::attention`].
        attention(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Tensor);
        /// [`reference::swiglu`].
        swiglu(gate: &Tensor, up: &Tensor);
        /// [`reference::token_log_probabilities`].
        token_log_probabilities(logits: &Tensor, targets: &Tensor);
    }
}
