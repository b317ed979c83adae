//! Packs a matrix, panel by panel on all threads; of the source only the rows at hand are in memory.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};

use rayon::prelude::*;

use super::quantise::{BLOCK_BYTES, lay_blocks, quantise_row};
use super::{PackedMatrix, Panels, RowSource};
use crate::ops::Arithmetic;
use crate::ops::cpu::element::Element;
use crate::ops::cpu::elementwise::largest_magnitude;
use crate::ops::cpu::kernel::int8::{BIAS, BLOCK, Scales, UNITS};
use crate::ops::cpu::{LANES, Lanes};

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

/// Zeros that no thread has touched yet: the system gives their pages to the threads that write them first.
#[allow(unsafe_code)]
fn untouched(count: usize) -> Vec<Lanes> {
    let Ok(layout) = Layout::array::<Lanes>(count) else {
        panic!("{count} registers are more than memory can hold");
    };
    if layout.size() == 0 {
        return Vec::new();
    }
    // SAFETY: the layout is that of a vector of `count` registers, and a register of zero bytes is `Lanes::ZERO`.
    unsafe {
        let start = alloc_zeroed(layout);
        if start.is_null() {
            handle_alloc_error(layout);
        }
        Vec::from_raw_parts(start.cast(), count, count)
    }
}

fn numbers(source: &dyn RowSource, element: Element, panel_count: usize) -> (Panels, f32) {
    let (outputs, inputs) = source.shape();
    let units = element.units(inputs);
    let mut lanes = untouched(panel_count * units);
    let largest = lanes
        .par_chunks_mut(units)
        .enumerate()
        .map_init(
            || (vec![0.0; inputs], vec![0; LANES * units]),
            |(row, rows), (panel, lanes)| {
                let first = panel * LANES;
                let count = LANES.min(outputs - first);
                let mut largest = 0.0;
                for (index, units) in rows.chunks_exact_mut(units).take(count).enumerate() {
                    source.read(first + index, row);
                    largest = larger(largest, largest_magnitude(row));
                    element.lay(row, units);
                }
                rows[count * units..].fill(0);
                transpose(rows, lanes.iter_mut().map(|lanes| &mut lanes.0));
                largest
            },
        )
        .reduce(|| 0.0, larger);
    (Panels::Numbers(element, lanes), largest)
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
    let mut lanes = untouched(panel_count * blocks * UNITS);
    let mut scales: Vec<Scales> = vec![[0; LANES]; panel_count * blocks];
    let largest = lanes
        .par_chunks_mut(blocks * UNITS)
        .zip(scales.par_chunks_mut(blocks))
        .enumerate()
        .map_init(
            || BlockRows::new(blocks),
            |rows, (panel, (lanes, scales))| {
                let first = panel * LANES;
                let count = LANES.min(outputs - first);
                let mut largest = 0.0;
                let units = rows.units.chunks_exact_mut(blocks * UNITS);
                let laid = units.zip(rows.scales.chunks_exact_mut(blocks));
                for (index, (units, scales)) in laid.take(count).enumerate() {
                    let bytes = match source.blocks(first + index) {
                        Some(bytes) => bytes,
                        None => {
                            source.read(first + index, &mut rows.numbers[..inputs]);
                            largest = larger(largest, largest_magnitude(&rows.numbers));
                            quantise_row(&rows.numbers, &mut rows.quantised);
                            &rows.quantised[..]
                        }
                    };
                    largest = larger(largest, lay_blocks(bytes, units, scales));
                }
                rows.units[count * blocks * UNITS..].fill(zero);
                rows.scales[count * blocks..].fill(0);
                transpose(&rows.units, lanes.iter_mut().map(|lanes| &mut lanes.0));
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
    units: Vec<u32>,
    scales: Vec<u16>,
}

impl BlockRows {
    fn new(blocks: usize) -> Self {
        Self {
            numbers: vec![0.0; blocks * BLOCK],
            quantised: vec![0; blocks * BLOCK_BYTES],
            units: vec![0; LANES * blocks * UNITS],
            scales: vec![0; LANES * blocks],
        }
    }
}
