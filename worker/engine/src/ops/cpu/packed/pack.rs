//! Packs a matrix, panel by panel on all threads; of the source only the rows at hand are in memory.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};

use rayon::prelude::*;

use super::quantise::{BLOCK_BYTES, pack_blocks, quantise_row};
use super::{PackedMatrix, Panels, RowSource};
use crate::ops::Dtype;
use crate::ops::cpu::elementwise::largest_magnitude;
use crate::ops::cpu::kernel::int8::{BIAS, BLOCK, Scales, WORDS};
use crate::ops::cpu::packed_type::PackedType;
use crate::ops::cpu::{LANES, Lanes};

impl PackedMatrix {
    /// Packs a matrix for a dtype. Also returns the largest magnitude in it as packed, which is not a number where
    /// some value is not finite.
    ///
    /// # Panics
    /// The matrix has no columns.
    pub fn pack(source: &dyn RowSource, dtype: Dtype) -> (Self, f32) {
        let (outputs, inputs) = source.shape();
        assert!(inputs > 0, "a matrix has columns");
        let panel_count = outputs.div_ceil(LANES);
        let (panels, largest) = match dtype {
            Dtype::F32 => numbers(source, PackedType::F32, panel_count),
            Dtype::Bf16 => numbers(source, PackedType::Bf16, panel_count),
            Dtype::Int8 => blocks(source, panel_count),
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

/// Zeros that no thread has touched yet: the system gives their pages to the threads that write them first.
#[allow(unsafe_code)]
fn untouched(count: usize) -> Vec<Lanes> {
    let Ok(convert) = Layout::array::<Lanes>(count) else {
        panic!("{count} registers are more than memory can hold");
    };
    if convert.size() == 0 {
        return Vec::new();
    }
    // SAFETY: the layout is that of a vector of `count` registers, and a register of zero bytes is `Lanes::ZERO`.
    unsafe {
        let start = alloc_zeroed(convert);
        if start.is_null() {
            handle_alloc_error(convert);
        }
        Vec::from_raw_parts(start.cast(), count, count)
    }
}

fn numbers(source: &dyn RowSource, packed_type: PackedType, panel_count: usize) -> (Panels, f32) {
    let (outputs, inputs) = source.shape();
    let words = packed_type.words(inputs);
    let mut lanes = untouched(panel_count * words);
    let largest = lanes
        .par_chunks_mut(words)
        .enumerate()
        .map_init(
            || (vec![0.0; inputs], vec![0; LANES * words]),
            |(row, rows), (panel, lanes)| {
                let first = panel * LANES;
                let count = LANES.min(outputs - first);
                let mut largest = 0.0;
                for (index, words) in rows.chunks_exact_mut(words).take(count).enumerate() {
                    source.read(first + index, row);
                    largest = larger(largest, largest_magnitude(row));
                    packed_type.pack_row(row, words);
                }
                rows[count * words..].fill(0);
                transpose(rows, lanes.iter_mut().map(|lanes| &mut lanes.0));
                largest
            },
        )
        .reduce(|| 0.0, larger);
    (Panels::Numbers(packed_type, lanes), largest)
}

/// Sixteen rows, one after the other, as columns.
fn transpose<'a, T: Copy + 'a>(
    rows: &[T],
    columns: impl ExactSizeIterator<Item = &'a mut [T; LANES]>,
) {
    let length = columns.len();
    let rows: [&[T]; LANES] = std::array::from_fn(|lane| &rows[lane * length..][..length]);
    for (index, column) in columns.enumerate() {
        for (place, row) in column.iter_mut().zip(rows) {
            *place = row[index];
        }
    }
}

fn blocks(source: &dyn RowSource, panel_count: usize) -> (Panels, f32) {
    let (outputs, inputs) = source.shape();
    let blocks = inputs.div_ceil(BLOCK);
    // A weight of zero is stored as the bias.
    let zero = u32::from_le_bytes([BIAS as u8; 4]);
    let mut lanes = untouched(panel_count * blocks * WORDS);
    let mut scales: Vec<Scales> = vec![[0; LANES]; panel_count * blocks];
    let largest = lanes
        .par_chunks_mut(blocks * WORDS)
        .zip(scales.par_chunks_mut(blocks))
        .enumerate()
        .map_init(
            || BlockRows::new(blocks),
            |rows, (panel, (lanes, scales))| {
                let first = panel * LANES;
                let count = LANES.min(outputs - first);
                let mut largest = 0.0;
                let words = rows.words.chunks_exact_mut(blocks * WORDS);
                let laid = words.zip(rows.scales.chunks_exact_mut(blocks));
                for (index, (words, scales)) in laid.take(count).enumerate() {
                    let bytes = match source.blocks(first + index) {
                        Some(bytes) => bytes,
                        None => {
                            source.read(first + index, &mut rows.numbers[..inputs]);
                            largest = larger(largest, largest_magnitude(&rows.numbers));
                            quantise_row(&rows.numbers, &mut rows.quantised);
                            &rows.quantised[..]
                        }
                    };
                    largest = larger(largest, pack_blocks(bytes, words, scales));
                }
                rows.words[count * blocks * WORDS..].fill(zero);
                rows.scales[count * blocks..].fill(0);
                transpose(&rows.words, lanes.iter_mut().map(|lanes| &mut lanes.0));
                transpose(&rows.scales, scales.iter_mut());
                largest
            },
        )
        .reduce(|| 0.0, larger);
    (Panels::Blocks(lanes, scales), largest)
}

/// What a thread needs for the rows of one panel.
struct BlockRows {
    /// A row in whole blocks, its end filled with zeros.
    numbers: Vec<f32>,
    quantised: Vec<u8>,
    words: Vec<u32>,
    scales: Vec<u16>,
}

impl BlockRows {
    fn new(blocks: usize) -> Self {
        Self {
            numbers: vec![0.0; blocks * BLOCK],
            quantised: vec![0; blocks * BLOCK_BYTES],
            words: vec![0; LANES * blocks * WORDS],
            scales: vec![0; LANES * blocks],
        }
    }
}
