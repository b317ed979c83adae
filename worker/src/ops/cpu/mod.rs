//! The serving body: f32 on the CPU over weights packed once. Every output element is summed in one fixed
//! order, whatever the number of rows, the number of threads or the instruction set, so that a row's result
//! depends on nothing but that row and has the same bits on every machine. No platform mathematics is called
//! where its last bits would show.

mod attention;
mod elementwise;
mod exp;
mod isa;
mod kernel;
mod packed;

pub use attention::{AttentionShape, AttentionTask, BLOCK_TOKENS, KeyValueBlock, attend, store};
pub use elementwise::{
    add, exp_in_place, log_sum_exp, rms_norm, rotate, softmax, sum_of_exponentials, swiglu,
};
pub use isa::{BODY_VARIABLE, Isa, from_environment, isa};
pub use packed::{PackedMatrix, linear};

/// Accumulates as many elements side by side as the widest registers hold.
pub(crate) const LANES: usize = 16;

/// One register's worth of f32, aligned to a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Lanes(pub(crate) [f32; LANES]);

impl Lanes {
    pub(crate) const ZERO: Self = Self([0.0; LANES]);
}
