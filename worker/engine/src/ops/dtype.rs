//! The dtypes in which a model is served. Each gives the same bits on every machine, whatever its instructions; two dtypes give different
//! bits. So the dtype is part of a run's spec and not of the machine.

/// The dtype (precision) of a served model: how its numbers are stored and multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dtype {
    /// Weights, keys and values in f32: the oracle for the others.
    F32,
    /// Weights, keys and values in bf16, and activations where they are multiplied; sums in f32.
    Bf16,
    /// Weights and activations of linear layers as 8-bit integers with a scale every 32, keys and values in bf16; sums
    /// in f32.
    Int8,
}

impl Dtype {
    /// Every dtype.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];

    /// Returns the name of the backend, for manifests: two runs of the same name give the same bits. One name covers every
    /// instruction set, because all of them sum in the same order.
    pub fn backend_name(self) -> &'static str {
        match self {
            Self::F32 => "cpu-f32",
            Self::Bf16 => "cpu-bf16",
            Self::Int8 => "cpu-int8",
        }
    }
}
