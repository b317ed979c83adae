//! Weights packed once, in the form of their dtype, and the linear layers on them.

use half::f16;

use super::kernel::int8::{BIAS, BLOCK, Scales, WORDS};
use super::packed_type::PackedType;
use super::{LANES, Lanes};
use crate::ops::Dtype;

mod linear;
mod pack;
mod quantise;
mod rows;

pub use linear::{PackedInputs, Projection, linear};
pub use rows::{DenseRows, RowSource};

/// A matrix (out, in) in panels of sixteen outputs, the last panel filled with zeros.
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    outputs: usize,
    inputs: usize,
    panels: Panels,
}

#[derive(Clone, Debug)]
enum Panels {
    /// `[out / 16][words of in][16]`.
    Numbers(PackedType, Vec<Lanes>),
    /// `[out / 16][blocks of in][8][16]`, four bytes each, with `[out / 16][blocks of in][16]` scales.
    Blocks(Vec<Lanes>, Vec<Scales>),
}

impl PackedMatrix {
    /// The number of outputs.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The number of inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The outputs rounded up to whole panels: the length of a row of results.
    pub fn stride(&self) -> usize {
        self.panel_count() * LANES
    }

    /// Returns its dtype.
    pub fn dtype(&self) -> Dtype {
        match self.panels {
            Panels::Numbers(PackedType::F32, _) => Dtype::F32,
            Panels::Numbers(PackedType::Bf16, _) => Dtype::Bf16,
            Panels::Blocks(..) => Dtype::Int8,
        }
    }

    /// Bytes that a matrix of this shape takes.
    pub fn bytes(dtype: Dtype, outputs: usize, inputs: usize) -> u64 {
        let row = match dtype {
            Dtype::F32 => 4 * inputs,
            Dtype::Bf16 => 4 * inputs.div_ceil(2),
            Dtype::Int8 => inputs.div_ceil(BLOCK) * (BLOCK + 2),
        };
        (outputs.next_multiple_of(LANES) * row) as u64
    }

    /// Copies row `index` into `row`: the embedding of a token, from the matrix that is also the head.
    ///
    /// # Panics
    /// There is no such row.
    pub fn copy_row(&self, index: usize, row: &mut [f32]) {
        assert!(index < self.outputs, "row {index} of {}", self.outputs);
        let (panel, lane) = (index / LANES, index % LANES);
        let row = &mut row[..self.inputs];
        match &self.panels {
            Panels::Numbers(packed_type, lanes) => {
                let words = packed_type.words(self.inputs);
                let panel = &lanes[panel * words..][..words];
                for (index, value) in row.iter_mut().enumerate() {
                    *value = packed_type.get(panel, index, lane);
                }
            }
            Panels::Blocks(lanes, scales) => {
                let blocks = self.inputs.div_ceil(BLOCK);
                for (block, values) in row.chunks_mut(BLOCK).enumerate() {
                    let place = panel * blocks + block;
                    let scale = f16::from_bits(scales[place][lane]).to_f32();
                    for (index, value) in values.iter_mut().enumerate() {
                        let word = lanes[place * WORDS + index / 4].0[lane];
                        let byte = word.to_le_bytes()[index % 4];
                        *value = (i32::from(byte) - BIAS) as f32 * scale;
                    }
                }
            }
        }
    }

    fn panel_count(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }
}
