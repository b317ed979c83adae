//! Packs the left operand of a GEMM into rows of words.

use std::ops::Range;

use super::{Layout, Operand, ROWS};
use crate::ops::cpu::LANES;
use crate::ops::cpu::convert::transpose;
use crate::ops::cpu::packed_type::PackedType;

/// Returns the numbers that word `index` of some columns consists of, in a matrix of rows of `width`: one row, or two of which the second may be
/// missing at the end.
pub(super) fn rows_of<'a>(
    packed_type: PackedType,
    values: &'a [f32],
    width: usize,
    numbers: &Range<usize>,
    index: usize,
    columns: &Range<usize>,
) -> [&'a [f32]; 2] {
    let row = numbers.start + index * packed_type.per_word();
    let next = row + packed_type.per_word() - 1;
    let of = |row: usize| &values[row * width..][columns.clone()];
    [of(row), if next < numbers.end { of(next) } else { &[] }]
}

/// Loads the sixteen words from `start` on.
pub(super) fn load_lanes(words: &[u32], start: usize) -> [u32; LANES] {
    let mut sixteen = [0; LANES];
    sixteen.copy_from_slice(&words[start..][..LANES]);
    sixteen
}

/// Packs rows `rows` of `a` (m, k) into words for the columns `numbers`, `stride` words from one row to the next.
pub(super) fn pack_lhs(
    packed_type: PackedType,
    a: Operand<'_>,
    (m, k): (usize, usize),
    rows: Range<usize>,
    numbers: Range<usize>,
    (words, stride): (&mut [u32], usize),
) {
    let depth = packed_type.words(numbers.len());
    match a.layout {
        Layout::RowMajor => {
            for (row, words) in rows.zip(words.chunks_mut(stride)) {
                packed_type.pack_row(&a.values[row * k..][numbers.clone()], &mut words[..depth]);
            }
        }
        Layout::ColumnMajor => {
            // Squares that the nearest cache holds: words of all rows beside each other, then those of each row.
            let mut across = [[0; ROWS]; LANES];
            for start in (0..depth).step_by(LANES) {
                let count = LANES.min(depth - start);
                for (index, across) in across.iter_mut().enumerate().take(count) {
                    let [first, second] =
                        rows_of(packed_type, a.values, m, &numbers, start + index, &rows);
                    packed_type.pack_across(first, second, &mut across[..rows.len()]);
                }
                for first in (0..rows.len()).step_by(LANES) {
                    let mut square = across.each_ref().map(|across| load_lanes(across, first));
                    transpose(&mut square);
                    let packed = words[first * stride..].chunks_mut(stride);
                    for (words, row) in packed.zip(square).take(rows.len() - first) {
                        words[start..][..count].copy_from_slice(&row[..count]);
                    }
                }
            }
        }
    }
}
