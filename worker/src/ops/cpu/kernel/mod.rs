//! The one product kernel: rows times packed panels. Linear maps, attention scores and attention values all
//! go through it. Element (row, column) is one chain of fused multiply-adds over k in ascending order,
//! started from zero or from what the output holds, in every instruction set and tile shape: so a product cut
//! in pieces over k, rows or columns gives the same bits as a whole one.

use super::isa::{Isa, isa};
use super::{LANES, Lanes};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

/// The operands of one product, as places in memory; what each tile works on.
///
/// `y[r * y_stride + 16 p + l] (+)= sum over i < k of x[r * x_stride + i] * w[p * w_stride + i][l]`.
#[derive(Clone, Copy)]
struct Operands {
    x: *const f32,
    x_stride: usize,
    w: *const Lanes,
    w_stride: usize,
    k: usize,
    y: *mut f32,
    y_stride: usize,
    /// Whether the sums continue from what `y` holds.
    resume: bool,
}

impl Operands {
    #[allow(unsafe_code)]
    unsafe fn at(self, row: usize, panel: usize) -> Self {
        // SAFETY: the caller stays within the product that it was given.
        unsafe {
            Self {
                x: self.x.add(row * self.x_stride),
                w: self.w.add(panel * self.w_stride),
                y: self.y.add(row * self.y_stride + panel * LANES),
                ..self
            }
        }
    }
}

/// Rows of a matrix within a slice: row `r` begins at `r * stride`.
#[derive(Clone, Copy)]
pub(super) struct Strided<T> {
    pub(super) data: T,
    pub(super) stride: usize,
}

/// Multiplies `rows` rows of `x` (k long) by `panels` panels of `w` (k long each) into `y`.
///
/// With `resume` the sums continue from `y`'s contents.
pub(super) fn multiply(
    rows: usize,
    panels: usize,
    k: usize,
    x: Strided<&[f32]>,
    w: Strided<&[Lanes]>,
    y: Strided<&mut [f32]>,
    resume: bool,
) {
    if rows == 0 || panels == 0 {
        return;
    }
    assert!(k <= w.stride && panels * LANES <= y.stride);
    assert!((rows - 1) * x.stride + k <= x.data.len());
    assert!((panels - 1) * w.stride + k <= w.data.len());
    assert!((rows - 1) * y.stride + panels * LANES <= y.data.len());
    let operands = Operands {
        x: x.data.as_ptr(),
        x_stride: x.stride,
        w: w.data.as_ptr(),
        w_stride: w.stride,
        k,
        y: y.data.as_mut_ptr(),
        y_stride: y.stride,
        resume,
    };
    // SAFETY: the bounds were asserted above.
    #[allow(unsafe_code)]
    unsafe {
        multiply_at(isa(), operands, rows, panels);
    }
}

/// The same on bare places, for tasks that write disjoint columns of one output.
///
/// # Safety
/// Every place that the product reads or writes is valid, and nobody else writes them meanwhile.
#[allow(unsafe_code)]
unsafe fn multiply_at(isa: Isa, operands: Operands, rows: usize, panels: usize) {
    // SAFETY: as the caller promises; the instruction set was detected when it was chosen.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::multiply(operands, rows, panels),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::multiply(operands, rows, panels),
            _ => portable::multiply(operands, rows, panels),
        }
    }
}

/// An output whose columns are shared out among tasks.
#[derive(Clone, Copy)]
pub(super) struct Columns {
    start: *mut f32,
    length: usize,
    stride: usize,
}

// SAFETY: tasks write disjoint columns only, as `multiply_columns` demands.
#[allow(unsafe_code)]
unsafe impl Send for Columns {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Columns {}

impl Columns {
    pub(super) fn of(y: &mut [f32], stride: usize) -> Self {
        Self {
            start: y.as_mut_ptr(),
            length: y.len(),
            stride,
        }
    }
}

/// How many elements of k a piece of a product covers when there are many rows: its panels then stay in
/// the second-level cache while all rows pass over them.
const DEPTH: usize = 512;
/// As many rows as one pass holds in registers.
const FEW_ROWS: usize = 6;
/// Panels that are worked through together.
const WIDTH: usize = 4;

/// Multiplies `rows` rows of `x` by panels `first..first + panels` of `w` (each `k` long) into those columns
/// of `y`, from zero.
///
/// # Safety
/// `y` outlives the call and no other task writes these columns meanwhile.
#[allow(unsafe_code)]
pub(super) unsafe fn multiply_columns(
    rows: usize,
    k: usize,
    x: &[f32],
    w: &[Lanes],
    first: usize,
    panels: usize,
    y: Columns,
) {
    assert!(rows * k <= x.len() && (first + panels) * k <= w.len());
    assert!((rows - 1) * y.stride + (first + panels) * LANES <= y.length);
    let (depth, width) = if rows <= FEW_ROWS {
        (k, panels)
    } else {
        (DEPTH, WIDTH)
    };
    for panel in (first..first + panels).step_by(width.max(1)) {
        let count = width.min(first + panels - panel);
        for start in (0..k).step_by(depth.max(1)) {
            // SAFETY: within the bounds asserted above; columns are this task's own.
            unsafe {
                let operands = Operands {
                    x: x.as_ptr().add(start),
                    x_stride: k,
                    w: w.as_ptr().add(panel * k + start),
                    w_stride: k,
                    k: depth.min(k - start),
                    y: y.start.add(panel * LANES),
                    y_stride: y.stride,
                    resume: start > 0,
                };
                multiply_at(isa(), operands, rows, count);
            }
        }
    }
}

/// Covers `rows` by `panels` with tiles of the shapes that an instruction set has, largest first. The
/// arms are `columns at a time: rows at a time, ...` with the tile to call.
macro_rules! cover {
    ($operands:expr, $rows:expr, $panels:expr, $tile:ident, few: $few:literal => $wide:literal, [$($m:literal)*] many: $narrow:literal, [$($n:literal)*]) => {{
        let (operands, rows, panels) = ($operands, $rows, $panels);
        let mut panel = 0;
        while panel < panels {
            let left = panels - panel;
            if rows <= $few && left >= $wide {
                // SAFETY: the tile lies within the product.
                unsafe {
                    let at = operands.at(0, panel);
                    match rows { $($m => $tile::<$m, $wide>(at),)* _ => unreachable!("at most {} rows", $few) }
                }
                panel += $wide;
                continue;
            }
            let wide = left >= $narrow;
            let mut row = 0;
            while row < rows {
                // SAFETY: as above.
                unsafe {
                    let at = operands.at(row, panel);
                    let left = rows - row;
                    $(if left >= $n {
                        if wide { $tile::<$n, $narrow>(at) } else { $tile::<$n, 1>(at) }
                        row += $n;
                        continue;
                    })*
                }
            }
            panel += if wide { $narrow } else { 1 };
        }
    }};
}
use cover;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{LANES, Lanes};
    use super::{Isa, Operands, multiply_at};

    /// Sums in the order that is promised, one element at a time.
    fn by_definition(rows: usize, panels: usize, k: usize, x: &[f32], w: &[Lanes], y: &mut [f32]) {
        for row in 0..rows {
            for column in 0..panels * LANES {
                let sum = &mut y[row * panels * LANES + column];
                for i in 0..k {
                    *sum =
                        x[row * k + i].mul_add(w[column / LANES * k + i].0[column % LANES], *sum);
                }
            }
        }
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    proptest! {
        #[test]
        fn every_instruction_set_sums_in_the_promised_order(
            rows in 1usize..20, panels in 1usize..14, k in 1usize..40, resume: bool, seed: u32,
        ) {
            let mut state = seed;
            let mut random = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            };
            let x: Vec<f32> = (0..rows * k).map(|_| random()).collect();
            let w: Vec<Lanes> = (0..panels * k).map(|_| Lanes(std::array::from_fn(|_| random()))).collect();
            let start: Vec<f32> = (0..rows * panels * LANES).map(|_| random()).collect();
            let mut expected = if resume { start.clone() } else { vec![0.0; start.len()] };
            by_definition(rows, panels, k, &x, &w, &mut expected);
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                let mut y = start.clone();
                let operands = Operands {
                    x: x.as_ptr(), x_stride: k, w: w.as_ptr(), w_stride: k, k,
                    y: y.as_mut_ptr(), y_stride: panels * LANES, resume,
                };
                // SAFETY: the vectors have the sizes that the strides say, and the machine has the instructions.
                #[allow(unsafe_code)]
                unsafe { multiply_at(isa, operands, rows, panels) };
                prop_assert_eq!(bits(&y), bits(&expected), "{}", isa.name());
            }
        }
    }
}
