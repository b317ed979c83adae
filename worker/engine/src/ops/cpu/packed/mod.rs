//! Weights packed once, in the form that their arithmetic multiplies, and the linear maps on them.

use half::f16;

use super::element::Element;
use super::kernel::int8::{BIAS, BLOCK, Scales, UNITS};
use super::{LANES, Lanes};
use crate::ops::Arithmetic;

mod linear;
mod pack;
mod quantise;
mod rows;

pub use linear::{Map, Prepared, linear};
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
    /// `[out / 16][units of in][16]`.
    Numbers(Element, Vec<Lanes>),
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

    /// The arithmetic by which it multiplies.
    pub fn arithmetic(&self) -> Arithmetic {
        match self.panels {
            Panels::Numbers(Element::F32, _) => Arithmetic::F32,
            Panels::Numbers(Element::Bf16, _) => Arithmetic::Bf16,
            Panels::Blocks(..) => Arithmetic::Int8,
        }
    }

    /// Bytes that a matrix of this shape takes.
    pub fn bytes(arithmetic: Arithmetic, outputs: usize, inputs: usize) -> u64 {
        let row = match arithmetic {
            Arithmetic::F32 => 4 * inputs,
            Arithmetic::Bf16 => 4 * inputs.div_ceil(2),
            Arithmetic::Int8 => inputs.div_ceil(BLOCK) * (BLOCK + 2),
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
            Panels::Numbers(element, lanes) => {
                let units = element.units(self.inputs);
                let panel = &lanes[panel * units..][..units];
                for (index, value) in row.iter_mut().enumerate() {
                    *value = element.get(panel, index, lane);
                }
            }
            Panels::Blocks(lanes, scales) => {
                let blocks = self.inputs.div_ceil(BLOCK);
                for (block, values) in row.chunks_mut(BLOCK).enumerate() {
                    let place = panel * blocks + block;
                    let scale = f16::from_bits(scales[place][lane]).to_f32();
                    for (index, value) in values.iter_mut().enumerate() {
                        let unit = lanes[place * UNITS + index / 4].0[lane];
                        let byte = unit.to_le_bytes()[index % 4];
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
