//! Products of plain f32 matrices, for training: both operands change with every step, so nothing is packed ahead. The kernels are
//! those of serving, and so is the promise: an element is one chain of fused multiply-adds over k, whatever the threads or instructions.

use std::cell::RefCell;

use rayon::prelude::*;

use super::element::Element;
use super::kernel::{Strided, multiply};
use super::{LANES, Lanes};

/// How a matrix lies in memory, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Laid {
    /// As it is named.
    Plain,
    /// Columns for rows.
    Transposed,
}

/// Units of k in a piece: a piece of some panels stays in the second-level cache while all rows pass over it.
const DEPTH: usize = 512;
/// Most rows that a thread takes at a time, which share what is read of the right operand.
const ROWS: usize = 64;
/// Panels that are worked through together.
const WIDTH: usize = 6;
/// Panels that a thread packs at a time, row by row of what it reads.
const PACKED_TOGETHER: usize = 8;
/// Units between the rows of the left operand's piece: with a power of two they would all fall on a few places of the cache.
const GAP: usize = LANES;

thread_local! {
    /// The packed right operand's memory, which one product leaves to the next.
    static PACKED: RefCell<Vec<Lanes>> = const { RefCell::new(Vec::new()) };
}

/// `y = a b` for `a` (m, k), `b` (k, n) and `y` (m, n).
///
/// # Panics
/// An operand has another size.
pub fn product(
    (m, k, n): (usize, usize, usize),
    a: (&[f32], Laid),
    b: (&[f32], Laid),
    y: &mut [f32],
) {
    assert_eq!((a.0.len(), b.0.len(), y.len()), (m * k, k * n, m * n));
    if y.is_empty() {
        return;
    }
    let mut packed = PACKED.take();
    pack(b, (k, n), &mut packed);
    let width = n.next_multiple_of(LANES);
    if width == n {
        multiply_rows((m, k, width), a, &packed, y);
    } else {
        // Kernels write whole panels.
        let mut wide = vec![0.0; m * width];
        multiply_rows((m, k, width), a, &packed, &mut wide);
        for (row, wide) in y.chunks_exact_mut(n).zip(wide.chunks_exact(width)) {
            row.copy_from_slice(&wide[..n]);
        }
    }
    PACKED.set(packed);
}

/// Lays `b` out as `[pieces of k][panels of n][units of the piece]`, what is beyond n as zeros.
fn pack((b, laid): (&[f32], Laid), (k, n): (usize, usize), packed: &mut Vec<Lanes>) {
    let panels = n.div_ceil(LANES);
    if packed.len() < panels * k {
        packed.resize(panels * k, Lanes::ZERO);
    }
    let pieces = packed[..panels * k].chunks_mut(panels * DEPTH);
    for (piece, lanes) in pieces.enumerate() {
        let (start, depth) = (piece * DEPTH, lanes.len() / panels);
        lanes
            .par_chunks_mut(PACKED_TOGETHER * depth)
            .enumerate()
            .for_each(|(group, lanes)| {
                let first = group * PACKED_TOGETHER * LANES;
                if first + lanes.len() / depth * LANES > n {
                    lanes.fill(Lanes::ZERO);
                }
                let columns = first..n.min(first + PACKED_TOGETHER * LANES);
                match laid {
                    Laid::Plain => {
                        for (index, row) in b[start * n..].chunks_exact(n).take(depth).enumerate() {
                            for (panel, values) in row[columns.clone()].chunks(LANES).enumerate() {
                                let unit = &mut lanes[panel * depth + index].0;
                                for (lane, value) in unit.iter_mut().zip(values) {
                                    *lane = value.to_bits();
                                }
                            }
                        }
                    }
                    Laid::Transposed => {
                        for column in columns {
                            let (panel, lane) = ((column - first) / LANES, column % LANES);
                            let units = &mut lanes[panel * depth..][..depth];
                            for (unit, value) in units.iter_mut().zip(&b[column * k + start..]) {
                                unit.0[lane] = value.to_bits();
                            }
                        }
                    }
                }
            });
    }
}

fn multiply_rows(
    (m, k, width): (usize, usize, usize),
    (a, laid): (&[f32], Laid),
    packed: &[Lanes],
    y: &mut [f32],
) {
    if k == 0 {
        return y.fill(0.0);
    }
    let panels = width / LANES;
    // Pieces for every thread several times over, in whole tiles.
    let rows = m.div_ceil(4 * rayon::current_num_threads());
    let rows = rows.next_multiple_of(8).min(ROWS);
    let units = || vec![0u32; rows * (DEPTH + GAP)];
    let tasks = y.par_chunks_mut(rows * width).enumerate();
    tasks.for_each_init(units, |units, (task, y)| {
        let (first, rows) = (task * rows, y.len() / width);
        for start in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - start);
            let stride = depth + GAP;
            match laid {
                Laid::Plain => {
                    for (row, units) in units.chunks_exact_mut(stride).take(rows).enumerate() {
                        Element::F32.lay(
                            &a[(first + row) * k + start..][..depth],
                            &mut units[..depth],
                        );
                    }
                }
                Laid::Transposed => {
                    for index in 0..depth {
                        let column = &a[(start + index) * m + first..][..rows];
                        for (row, value) in column.iter().enumerate() {
                            units[row * stride + index] = value.to_bits();
                        }
                    }
                }
            }
            for panel in (0..panels).step_by(WIDTH) {
                let x = Strided {
                    data: &units[..],
                    stride,
                };
                let w = Strided {
                    data: &packed[start * panels + panel * depth..],
                    stride: depth,
                };
                let y = Strided {
                    data: &mut y[panel * LANES..],
                    stride: width,
                };
                let count = WIDTH.min(panels - panel);
                multiply(Element::F32, rows, count, depth, x, w, y, start > 0);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Laid, product};

    fn transposed(values: &[f32], (rows, columns): (usize, usize)) -> Vec<f32> {
        let at = |place: usize| values[place % rows * columns + place / rows];
        (0..values.len()).map(at).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn an_element_is_one_chain_of_fused_multiply_adds_however_the_operands_lie(
            m in 1usize..150, k in prop_oneof![1usize..40, 500usize..1100], n in 1usize..120,
            threads in 1usize..4, seed: u32,
        ) {
            let mut state = seed;
            let mut random = |count: usize| -> Vec<f32> {
                let next = |_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 8) as f32 / (1 << 23) as f32 - 1.0
                };
                (0..count).map(next).collect()
            };
            let (a, b) = (random(m * k), random(k * n));
            let expected: Vec<u32> = (0..m * n).map(|place| {
                let (row, column) = (place / n, place % n);
                let chain = (0..k).fold(0.0f32, |sum, i| a[row * k + i].mul_add(b[i * n + column], sum));
                chain.to_bits()
            }).collect();
            let (across_a, across_b) = (transposed(&a, (m, k)), transposed(&b, (k, n)));
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for (a, b) in [
                ((&a, Laid::Plain), (&b, Laid::Plain)),
                ((&a, Laid::Plain), (&across_b, Laid::Transposed)),
                ((&across_a, Laid::Transposed), (&b, Laid::Plain)),
            ] {
                let mut y = vec![f32::NAN; m * n];
                pool.install(|| product((m, k, n), (a.0, a.1), (b.0, b.1), &mut y));
                let bits: Vec<u32> = y.iter().map(|value| value.to_bits()).collect();
                prop_assert_eq!(&bits, &expected, "{:?} {:?}", a.1, b.1);
            }
        }
    }
}
