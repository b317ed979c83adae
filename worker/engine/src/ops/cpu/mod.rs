//! The serving backend on the CPU over weights packed once, in one of several dtypes. Every output element is
//! summed in one fixed order, whatever the number of rows, the number of threads or the instruction set, so
//! that a row's result depends on nothing but that row and has the same bits on every machine. No platform
//! mathematics is called where its last bits would show.

mod attention;
mod backward;
mod bf16;
mod convert;
mod elementwise;
mod exp;
mod gemm;
mod isa;
mod kernel;
mod packed;
mod packed_type;

pub use attention::{
    AttentionLayer, AttentionShape, BLOCK_TOKENS, KeyValueBlock, MOST_QUERIES, Queries, attend,
    store,
};
pub use backward::{rms_norm_backward, scale_exponentials, softmax_backward, swiglu_backward};
pub use elementwise::{
    add, exp_in_place, keep_at_least, largest_finite, log_sum_exp, rms_norm, rotate,
    sampling_weights, softmax, sum_of_exponentials, swiglu,
};
pub use gemm::{Operand, gemm};
pub use isa::{BACKEND_VARIABLE, Isa, from_environment, isa};
pub use kernel::saturate;
pub use packed::{DenseRows, PackedInputs, PackedMatrix, Projection, RowSource, linear};
pub use packed_type::PackedType;

use super::Dtype;

/// Columns that are computed side by side: the words of the widest register.
pub(crate) const LANES: usize = 16;

/// One register's worth of words, aligned to a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Lanes(pub(crate) [u32; LANES]);

impl Lanes {
    pub(crate) const ZERO: Self = Self([0; LANES]);
}

impl Dtype {
    /// Returns the type of the KV cache.
    pub fn cache_type(self) -> PackedType {
        match self {
            Self::F32 => PackedType::F32,
            Self::Bf16 | Self::Int8 => PackedType::Bf16,
        }
    }
}
