//! Packs the right operand of a GEMM into panels of words.

use std::ops::Range;

use rayon::prelude::*;

use super::pack_lhs::{load_lanes, rows_of};
use super::{DEPTH, Layout, Operand};
use crate::ops::cpu::convert::transpose;
use crate::ops::cpu::packed_type::PackedType;
use crate::ops::cpu::{LANES, Lanes};

/// Most panels that a thread packs at a time, row by row of what it reads: the more, the more of each row lies together.
const PACKED_TOGETHER: usize = 32;

/// Packs `b` into `[pieces of k][panels of n][words of the piece]` with a word between panels, what is beyond n as zeros.
pub(super) fn pack_rhs(
    packed_type: PackedType,
    b: Operand<'_>,
    (k, n): (usize, usize),
    packed: &mut Vec<Lanes>,
) {
    let (panels, words) = (n.div_ceil(LANES), packed_type.words(k));
    let all = panels * (words + words.div_ceil(DEPTH));
    if packed.len() < all {
        packed.resize(all, Lanes::ZERO);
    }
    let together = panels.div_ceil(rayon::current_num_threads());
    let together = together.min(PACKED_TOGETHER);
    let pieces = packed[..all].chunks_mut(panels * (DEPTH + 1));
    for (piece, lanes) in pieces.enumerate() {
        let stride = lanes.len() / panels;
        let depth = stride - 1;
        let first = piece * DEPTH * packed_type.per_word();
        let numbers = first..k.min(first + depth * packed_type.per_word());
        lanes
            .par_chunks_mut(together * stride)
            .enumerate()
            .for_each(|(group, lanes)| {
                let first = group * together * LANES;
                if first + lanes.len() / stride * LANES > n {
                    lanes.fill(Lanes::ZERO);
                }
                let columns = first..n.min(first + together * LANES);
                match b.layout {
                    Layout::RowMajor => {
                        pack_rows(packed_type, b.values, n, numbers.clone(), columns, lanes)
                    }
                    Layout::ColumnMajor => {
                        pack_columns(packed_type, b.values, k, numbers.clone(), columns, lanes);
                    }
                }
            });
    }
}

/// Packs some columns of a row-major `b` with rows of `n`, for the rows `numbers`.
fn pack_rows(
    packed_type: PackedType,
    b: &[f32],
    n: usize,
    numbers: Range<usize>,
    columns: Range<usize>,
    lanes: &mut [Lanes],
) {
    let depth = packed_type.words(numbers.len());
    let mut words = [0; PACKED_TOGETHER * LANES];
    let words = &mut words[..columns.len()];
    for index in 0..depth {
        let [first, second] = rows_of(packed_type, b, n, &numbers, index, &columns);
        packed_type.pack_across(first, second, words);
        for (panel, words) in words.chunks(LANES).enumerate() {
            lanes[panel * (depth + 1) + index].0[..words.len()].copy_from_slice(words);
        }
    }
}

/// Packs some columns of a column-major `b`, each of `k` numbers, for the rows `numbers`.
fn pack_columns(
    packed_type: PackedType,
    b: &[f32],
    k: usize,
    numbers: Range<usize>,
    columns: Range<usize>,
    lanes: &mut [Lanes],
) {
    let depth = packed_type.words(numbers.len());
    let mut rows = [[0; DEPTH]; LANES];
    for (panel, first) in lanes
        .chunks_exact_mut(depth + 1)
        .zip(columns.clone().step_by(LANES))
    {
        for (lane, row) in rows.iter_mut().enumerate() {
            match first + lane < columns.end {
                true => packed_type
                    .pack_row(&b[(first + lane) * k..][numbers.clone()], &mut row[..depth]),
                false => row[..depth].fill(0),
            }
        }
        for (block, lanes) in panel[..depth].chunks_mut(LANES).enumerate() {
            let mut square = rows.each_ref().map(|row| load_lanes(row, block * LANES));
            transpose(&mut square);
            for (lanes, column) in lanes.iter_mut().zip(square) {
                lanes.0 = column;
            }
        }
    }
}
