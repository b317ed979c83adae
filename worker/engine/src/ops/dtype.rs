//! The arithmetics by which a model is served. Each gives the same bits on every machine, whatever its
//! instructions; two of them give different ones. So which one serves is part of what a run is, and not of
//! where it runs.

/// How a served model's numbers are held and multiplied.
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
    /// Every arithmetic.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];

    /// The name of the backend, for manifests: two runs of the same name give the same bits. One name covers every
    /// instruction set, because all of them sum in the same order.
    pub fn backend_name(self) -> &'static str {
        match self {
            Self::F32 => "cpu-f32",
            Self::Bf16 => "cpu-bf16",
            Self::Int8 => "cpu-int8",
        }
    }
}
