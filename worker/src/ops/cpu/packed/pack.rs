//! Packs a matrix, panel by panel on all threads; of the source only the rows at hand are in memory.

use half::f16;
use rayon::prelude::*;

use super::{PackedMatrix, Panels, RowSource};
use crate::ops::Arithmetic;
use crate::ops::cpu::element::Element;
use crate::ops::cpu::kernel::int8::{BIAS, BLOCK, Scales, UNITS};
use crate::ops::cpu::{LANES, Lanes};

/// Bytes of a Q8_0 block.
const BLOCK_BYTES: usize = BLOCK + 2;

impl PackedMatrix {
    /// Packs a matrix for an arithmetic. Also returns the largest magnitude in it as packed, which is not a number where
    /// some value is not finite.
    ///
    /// # Panics
    /// The matrix has no columns.
    pub fn pack(source: &dyn RowSource, arithmetic: Arithmetic) -> (Self, f32) {
        let (outputs, inputs) = source.shape();
        assert!(inputs > 0, "a matrix has columns");
        let panel_count = outputs.div_ceil(LANES);
        let (panels, largest) = match arithmetic {
            Arithmetic::F32 => numbers(source, Element::F32, panel_count),
            Arithmetic::Bf16 => numbers(source, Element::Bf16, panel_count),
            Arithmetic::Int8 => blocks(source, panel_count),
        };
        let matrix = Self {
            outputs,
            inputs,
            panels,
        };
        (matrix, largest)
    }
}

/// The larger magnitude; not a number where either is not finite.
fn larger(a: f32, b: f32) -> f32 {
    if a.is_finite() && b.is_finite() {
        a.max(b)
    } else {
        f32::NAN
    }
}

fn magnitude(row: &[f32]) -> f32 {
    // A product with zero is zero, unless one factor is not finite.
    let zero: f32 = row.iter().map(|x| x * 0.0).sum();
    row.iter().fold(0.0f32, |largest, x| largest.max(x.abs())) + zero
}

fn numbers(source: &dyn RowSource, element: Element, panel_count: usize) -> (Panels, f32) {
    let (outputs, inputs) = source.shape();
    let units = element.units(inputs);
    let mut lanes = vec![Lanes::ZERO; panel_count * units];
    let largest = lanes
        .par_chunks_mut(units)
        .enumerate()
        .map_init(
            || vec![0.0; inputs],
            |row, (panel, lanes)| {
                let first = panel * LANES;
                let mut largest = 0.0;
                for index in first..outputs.min(first + LANES) {
                    source.read(index, row);
                    largest = larger(largest, magnitude(row));
                    for (place, value) in row.iter().enumerate() {
                        element.put(lanes, place, index - first, *value);
                    }
                }
                largest
            },
        )
        .reduce(|| 0.0, larger);
    (Panels::Numbers(element, lanes), largest)
}

fn blocks(source: &dyn RowSource, panel_count: usize) -> (Panels, f32) {
    let (outputs, inputs) = source.shape();
    let blocks = inputs.div_ceil(BLOCK);
    // A weight of zero is stored as the bias.
    let zero = Lanes([u32::from_le_bytes([BIAS as u8; 4]); LANES]);
    let mut lanes = vec![zero; panel_count * blocks * UNITS];
    let mut scales: Vec<Scales> = vec![[0; LANES]; panel_count * blocks];
    let largest = lanes
        .par_chunks_mut(blocks * UNITS)
        .zip(scales.par_chunks_mut(blocks))
        .enumerate()
        .map_init(
            || (vec![0.0; blocks * BLOCK], vec![0u8; blocks * BLOCK_BYTES]),
            |(row, quantised), (panel, (lanes, scales))| {
                let first = panel * LANES;
                let mut largest = 0.0;
                for index in first..outputs.min(first + LANES) {
                    let bytes = match source.blocks(index) {
                        Some(bytes) => bytes,
                        None => {
                            source.read(index, &mut row[..inputs]);
                            largest = larger(largest, magnitude(row));
                            quantise_row(row, quantised);
                            &quantised[..]
                        }
                    };
                    let found = place(bytes, index - first, lanes, scales);
                    largest = larger(largest, found);
                }
                largest
            },
        )
        .reduce(|| 0.0, larger);
    (Panels::Blocks(lanes, scales), largest)
}

/// Puts one row of Q8_0 blocks into its lane; returns the largest magnitude in it.
fn place(row: &[u8], lane: usize, lanes: &mut [Lanes], scales: &mut [Scales]) -> f32 {
    let mut largest = 0.0;
    let (blocks, _) = row.as_chunks::<BLOCK_BYTES>();
    for ((block, units), scales) in blocks.iter().zip(lanes.chunks_mut(UNITS)).zip(scales) {
        let [low, high, numbers @ ..] = block;
        let scale = f16::from_le_bytes([*low, *high]);
        scales[lane] = scale.to_bits();
        let mut most = 0;
        for (unit, four) in units.iter_mut().zip(numbers.as_chunks::<4>().0) {
            // -128 would overflow where pairs of products are added in 16 bits; quantisers do not write it.
            let stored = four.map(|byte| {
                let number = i32::from(byte.cast_signed()).max(-127);
                most = most.max(number.abs());
                (number + BIAS) as u8
            });
            unit.0[lane] = u32::from_le_bytes(stored);
        }
        largest = larger(largest, scale.to_f32().abs() * most as f32);
    }
    largest
}

/// Quantises whole blocks as Q8_0: every number is within half a step of its own.
fn quantise_row(row: &[f32], out: &mut [u8]) {
    let blocks = row.as_chunks::<BLOCK>().0.iter();
    for (block, out) in blocks.zip(out.as_chunks_mut::<BLOCK_BYTES>().0) {
        // Not a number goes on as such, by the scale.
        let largest = magnitude(block);
        let mut scale = f16::from_f32(largest / 127.0);
        if scale.to_f32() * 127.0 < largest && scale < f16::MAX {
            // Rounded down, the scale would not reach the largest number.
            scale = f16::from_bits(scale.to_bits() + 1);
        }
        let step = scale.to_f32();
        let [low, high, numbers @ ..] = out;
        [*low, *high] = scale.to_le_bytes();
        for (number, x) in numbers.iter_mut().zip(block) {
            let steps = if step > 0.0 { x / step } else { 0.0 };
            *number = (steps.round_ties_even().clamp(-127.0, 127.0) as i8).cast_unsigned();
        }
    }
}
