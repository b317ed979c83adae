//! The right operand of a product as panels of units.

use std::ops::Range;

use rayon::prelude::*;

use super::lay::{of_sixteen, rows_of};
use super::{DEPTH, Laid, Operand};
use crate::ops::cpu::element::Element;
use crate::ops::cpu::layout::transpose;
use crate::ops::cpu::{LANES, Lanes};

/// Most panels that a thread packs at a time, row by row of what it reads: the more, the more of each row lies together.
const PACKED_TOGETHER: usize = 32;

/// Lays `b` out as `[pieces of k][panels of n][units of the piece]` with a unit between panels, what is beyond n as zeros.
pub(super) fn pack(
    element: Element,
    b: Operand<'_>,
    (k, n): (usize, usize),
    packed: &mut Vec<Lanes>,
) {
    let (panels, units) = (n.div_ceil(LANES), element.units(k));
    let all = panels * (units + units.div_ceil(DEPTH));
    if packed.len() < all {
        packed.resize(all, Lanes::ZERO);
    }
    let together = panels.div_ceil(rayon::current_num_threads());
    let together = together.min(PACKED_TOGETHER);
    let pieces = packed[..all].chunks_mut(panels * (DEPTH + 1));
    for (piece, lanes) in pieces.enumerate() {
        let stride = lanes.len() / panels;
        let depth = stride - 1;
        let first = piece * DEPTH * element.in_unit();
        let numbers = first..k.min(first + depth * element.in_unit());
        lanes
            .par_chunks_mut(together * stride)
            .enumerate()
            .for_each(|(group, lanes)| {
                let first = group * together * LANES;
                if first + lanes.len() / stride * LANES > n {
                    lanes.fill(Lanes::ZERO);
                }
                let columns = first..n.min(first + together * LANES);
                match b.laid {
                    Laid::Plain => pack_rows(element, b.values, n, numbers.clone(), columns, lanes),
                    Laid::Transposed => {
                        pack_columns(element, b.values, k, numbers.clone(), columns, lanes);
                    }
                }
            });
    }
}

/// Packs some columns of `b`, which lies by rows of `n`, for the rows `numbers`.
fn pack_rows(
    element: Element,
    b: &[f32],
    n: usize,
    numbers: Range<usize>,
    columns: Range<usize>,
    lanes: &mut [Lanes],
) {
    let depth = element.units(numbers.len());
    let mut units = [0; PACKED_TOGETHER * LANES];
    let units = &mut units[..columns.len()];
    for index in 0..depth {
        let [first, second] = rows_of(element, b, n, &numbers, index, &columns);
        element.lay_across(first, second, units);
        for (panel, units) in units.chunks(LANES).enumerate() {
            lanes[panel * (depth + 1) + index].0[..units.len()].copy_from_slice(units);
        }
    }
}

/// Packs some columns of `b`, each of which lies as `k` numbers in a row, for the rows `numbers`.
fn pack_columns(
    element: Element,
    b: &[f32],
    k: usize,
    numbers: Range<usize>,
    columns: Range<usize>,
    lanes: &mut [Lanes],
) {
    let depth = element.units(numbers.len());
    let mut rows = [[0; DEPTH]; LANES];
    for (panel, first) in lanes
        .chunks_exact_mut(depth + 1)
        .zip(columns.clone().step_by(LANES))
    {
        for (lane, row) in rows.iter_mut().enumerate() {
            match first + lane < columns.end {
                true => element.lay(&b[(first + lane) * k..][numbers.clone()], &mut row[..depth]),
                false => row[..depth].fill(0),
            }
        }
        for (block, lanes) in panel[..depth].chunks_mut(LANES).enumerate() {
            let mut square = rows.each_ref().map(|row| of_sixteen(row, block * LANES));
            transpose(&mut square);
            for (lanes, column) in lanes.iter_mut().zip(square) {
                lanes.0 = column;
            }
        }
    }
}
