//! The backend of the differentiable operations that training uses.

use candle_core::{Device, Result, Tensor};

use super::cpu::PackedType;
use super::{fused, reference};

/// The backend of the differentiable operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainingBackend {
    /// Composed of candle's elementary operations: the oracle, and what runs on a GPU.
    Reference,
    /// One pass each, on the CPU. Linear layers and attention multiply numbers in f32 or rounded to bf16, as is usual in training; sums,
    /// and everything else, are f32.
    Fused(PackedType),
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
                Self::Fused(_) => fused::$name($($argument),*),
            }
        }
    )*};
}

impl TrainingBackend {
    /// Returns the faster one on a device.
    pub fn for_device(device: &Device) -> Self {
        match device {
            Device::Cpu => Self::Fused(PackedType::Bf16),
            _ => Self::Reference,
        }
    }

    /// Returns the one that takes more memory, of those that this build may choose.
    pub fn largest() -> Self {
        match candle_core::utils::cuda_is_available() {
            true => Self::Reference,
            false => Self::Fused(PackedType::Bf16),
        }
    }

    /// [`reference::linear`].
    ///
    /// # Errors
    /// The shapes do not fit.
    pub fn linear(self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        match self {
            Self::Reference => reference::linear(x, weight, bias),
            Self::Fused(packed_type) => fused::linear(packed_type, x, weight, bias),
        }
    }

    /// [`reference::attend`].
    ///
    /// # Errors
    /// The shapes do not fit.
    pub fn attend(
        self,
        projections: [&Tensor; 3],
        angles: [&Tensor; 2],
        mask: &Tensor,
    ) -> Result<Tensor> {
        match self {
            Self::Reference => reference::attend(projections, angles, mask),
            Self::Fused(packed_type) => fused::attend(packed_type, projections, angles, mask),
        }
    }

    /// [`reference::head_log_probabilities`].
    ///
    /// # Errors
    /// The shapes do not fit, or a target lies beyond the vocabulary.
    pub fn head_log_probabilities(
        self,
        hidden: &Tensor,
        weight: &Tensor,
        targets: &Tensor,
    ) -> Result<Tensor> {
        match self {
            Self::Reference => reference::head_log_probabilities(hidden, weight, targets),
            Self::Fused(packed_type) => {
                fused::head_log_probabilities(packed_type, hidden, weight, targets)
            }
        }
    }

    by_either! {
        /// [`reference::embed`].
        embed(weight: &Tensor, ids: &Tensor);
        /// [`reference::rms_norm`].
        rms_norm(x: &Tensor, weight: &Tensor, eps: f64);
        /// [`reference::swiglu`].
        swiglu(gate: &Tensor, up: &Tensor);
    }
}
