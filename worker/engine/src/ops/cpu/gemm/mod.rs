//! GEMM (general matrix multiplication, matmul) of plain f32 matrices, for training: both operands change with every step, so nothing is
//! packed ahead. Numbers are multiplied in f32 or rounded to bf16, and summed in f32. The micro-kernels are those of serving, with the same
//! guarantee: an output element is one chain of fused multiply-adds over k, whatever the threads or instructions.

use std::cell::RefCell;

use rayon::prelude::*;

use super::kernel::{Strided, multiply};
use super::packed_type::PackedType;
use super::{LANES, Lanes};

mod pack_lhs;
mod pack_rhs;

use pack_lhs::pack_lhs;
use pack_rhs::pack_rhs;

/// The memory layout of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    RowMajor,
    ColumnMajor,
}

/// Words of k in a block: a block of some panels stays in the second-level cache while all rows pass over it.
const DEPTH: usize = 512;
/// Most rows that a thread takes at a time, which share what is read of the right operand.
const ROWS: usize = 64;
/// Panels that are worked through together.
const WIDTH: usize = 6;
/// Words between the rows of the packed left operand: with a power of two they would all fall on a few places of the cache.
const GAP: usize = LANES;

thread_local! {
    /// Memory of the packed right operand, reused by the next GEMM.
    static PACKED: RefCell<Vec<Lanes>> = const { RefCell::new(Vec::new()) };
}

/// A matrix of f32 and its layout.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    values: &'a [f32],
    layout: Layout,
}

impl<'a> Operand<'a> {
    /// Creates an operand from a row-major matrix.
    pub fn plain(values: &'a [f32]) -> Self {
        let layout = Layout::RowMajor;
        Self { values, layout }
    }

    /// Creates an operand from a column-major matrix: one that is stored transposed.
    pub fn transposed(values: &'a [f32]) -> Self {
        let layout = Layout::ColumnMajor;
        Self { values, layout }
    }
}

/// Computes the GEMM `y = a b` for `a` (m, k), `b` (k, n) and `y` (m, n), whose numbers are multiplied in `packed_type`; with `resume` the sums continue from what
/// `y` holds.
///
/// # Panics
/// An operand has another size.
pub fn gemm(
    packed_type: PackedType,
    (m, k, n): (usize, usize, usize),
    a: Operand<'_>,
    b: Operand<'_>,
    y: &mut [f32],
    resume: bool,
) {
    let sizes = (a.values.len(), b.values.len(), y.len());
    assert_eq!(sizes, (m * k, k * n, m * n));
    if y.is_empty() {
        return;
    }
    if k == 0 {
        if !resume {
            y.fill(0.0);
        }
        return;
    }
    let mut packed = PACKED.take();
    pack_rhs(packed_type, b, (k, n), &mut packed);
    let width = n.next_multiple_of(LANES);
    if width == n {
        multiply_rows(packed_type, (m, k, width), a, &packed, y, resume);
    } else {
        // Kernels write whole panels.
        let mut wide = vec![0.0; m * width];
        if resume {
            for (row, wide) in y.chunks_exact(n).zip(wide.chunks_exact_mut(width)) {
                wide[..n].copy_from_slice(row);
            }
        }
        multiply_rows(packed_type, (m, k, width), a, &packed, &mut wide, resume);
        for (row, wide) in y.chunks_exact_mut(n).zip(wide.chunks_exact(width)) {
            row.copy_from_slice(&wide[..n]);
        }
    }
    PACKED.set(packed);
}

fn multiply_rows(
    packed_type: PackedType,
    (m, k, width): (usize, usize, usize),
    a: Operand<'_>,
    packed: &[Lanes],
    y: &mut [f32],
    resume: bool,
) {
    let panels = width / LANES;
    // Pieces for every thread several times over, in whole tiles.
    let rows = m.div_ceil(4 * rayon::current_num_threads());
    let rows = rows.next_multiple_of(8).min(ROWS);
    let words = || vec![0u32; rows * (DEPTH + GAP)];
    let tasks = y.par_chunks_mut(rows * width).enumerate();
    tasks.for_each_init(words, |words, (task, y)| {
        let (first, rows) = (task * rows, y.len() / width);
        for start in (0..packed_type.words(k)).step_by(DEPTH) {
            let depth = DEPTH.min(packed_type.words(k) - start);
            let stride = depth + GAP;
            let numbers =
                start * packed_type.per_word()..k.min((start + depth) * packed_type.per_word());
            pack_lhs(
                packed_type,
                a,
                (m, k),
                first..first + rows,
                numbers,
                (words, stride),
            );
            for panel in (0..panels).step_by(WIDTH) {
                let x = Strided {
                    data: &words[..],
                    stride,
                };
                let w = Strided {
                    data: &packed[start / DEPTH * (DEPTH + 1) * panels + panel * (depth + 1)..],
                    stride: depth + 1,
                };
                let y = Strided {
                    data: &mut y[panel * LANES..],
                    stride: width,
                };
                let count = WIDTH.min(panels - panel);
                multiply(
                    packed_type,
                    rows,
                    count,
                    depth,
                    x,
                    w,
                    y,
                    resume || start > 0,
                );
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Layout, Operand, PackedType, gemm};

    fn transposed(values: &[f32], (rows, columns): (usize, usize)) -> Vec<f32> {
        let at = |place: usize| values[place % rows * columns + place / rows];
        (0..values.len()).map(at).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn layouts_sum_in_one_chain(
            m in 1usize..150, k in prop_oneof![1usize..40, 500usize..1100], n in 1usize..120,
            threads in 1usize..4, half: bool, resume: bool, seed: u32,
        ) {
            let mut state = seed;
            let mut random = |count: usize| -> Vec<f32> {
                let next = |_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 8) as f32 / (1 << 23) as f32 - 1.0
                };
                (0..count).map(next).collect()
            };
            let (a, b, begun) = (random(m * k), random(k * n), random(m * n));
            let packed_type = if half { PackedType::Bf16 } else { PackedType::F32 };
            let rounded = |x: f32| match packed_type {
                PackedType::F32 => x,
                PackedType::Bf16 => half::bf16::from_f32(x).to_f32(),
            };
            // Of a pair the later number comes first.
            let mut order: Vec<usize> = (0..k).collect();
            order.chunks_mut(packed_type.per_word()).for_each(<[usize]>::reverse);
            let expected: Vec<u32> = (0..m * n).map(|place| {
                let (row, column) = (place / n, place % n);
                let begun = if resume { begun[place] } else { 0.0 };
                let chain = order.iter().fold(begun, |sum, i| {
                    rounded(a[row * k + i]).mul_add(rounded(b[i * n + column]), sum)
                });
                chain.to_bits()
            }).collect();
            let (across_a, across_b) = (transposed(&a, (m, k)), transposed(&b, (k, n)));
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for (a, b) in [
                ((&a, Layout::RowMajor), (&b, Layout::RowMajor)),
                ((&a, Layout::RowMajor), (&across_b, Layout::ColumnMajor)),
                ((&across_a, Layout::ColumnMajor), (&b, Layout::RowMajor)),
            ] {
                let [a, b] = [a, b].map(|(values, layout)| Operand { values, layout });
                let mut y = if resume { begun.clone() } else { vec![f32::NAN; m * n] };
                pool.install(|| gemm(packed_type, (m, k, n), a, b, &mut y, resume));
                let bits: Vec<u32> = y.iter().map(|value| value.to_bits()).collect();
                prop_assert_eq!(&bits, &expected, "{:?} {:?}", a.layout, b.layout);
            }
        }
    }
}
