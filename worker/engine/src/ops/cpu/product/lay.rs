//! The left operand of a product as rows of units.

use std::ops::Range;

use super::{Laid, Operand, ROWS};
use crate::ops::cpu::LANES;
use crate::ops::cpu::element::Element;
use crate::ops::cpu::layout::transpose;

/// The numbers that unit `index` of some columns is made of, in a matrix of rows of `width`: one row, or two of which the second may be
/// missing at the end.
pub(super) fn rows_of<'a>(
    element: Element,
    values: &'a [f32],
    width: usize,
    numbers: &Range<usize>,
    index: usize,
    columns: &Range<usize>,
) -> [&'a [f32]; 2] {
    let row = numbers.start + index * element.in_unit();
    let next = row + element.in_unit() - 1;
    let of = |row: usize| &values[row * width..][columns.clone()];
    [of(row), if next < numbers.end { of(next) } else { &[] }]
}

/// Sixteen units from `start` on.
pub(super) fn of_sixteen(units: &[u32], start: usize) -> [u32; LANES] {
    let mut sixteen = [0; LANES];
    sixteen.copy_from_slice(&units[start..][..LANES]);
    sixteen
}

/// Lays rows `rows` of `a` (m, k) out as units for the columns `numbers`, `stride` units from one row to the next.
pub(super) fn lay_rows(
    element: Element,
    a: Operand<'_>,
    (m, k): (usize, usize),
    rows: Range<usize>,
    numbers: Range<usize>,
    (units, stride): (&mut [u32], usize),
) {
    let depth = element.units(numbers.len());
    match a.laid {
        Laid::Plain => {
            for (row, units) in rows.zip(units.chunks_mut(stride)) {
                element.lay(&a.values[row * k..][numbers.clone()], &mut units[..depth]);
            }
        }
        Laid::Transposed => {
            // Squares that the nearest cache holds: units of all rows beside each other, then those of each row.
            let mut across = [[0; ROWS]; LANES];
            for start in (0..depth).step_by(LANES) {
                let count = LANES.min(depth - start);
                for (index, across) in across.iter_mut().enumerate().take(count) {
                    let [first, second] =
                        rows_of(element, a.values, m, &numbers, start + index, &rows);
                    element.lay_across(first, second, &mut across[..rows.len()]);
                }
                for first in (0..rows.len()).step_by(LANES) {
                    let mut square = across.each_ref().map(|across| of_sixteen(across, first));
                    transpose(&mut square);
                    let laid = units[first * stride..].chunks_mut(stride);
                    for (units, row) in laid.zip(square).take(rows.len() - first) {
                        units[start..][..count].copy_from_slice(&row[..count]);
                    }
                }
            }
        }
    }
}
