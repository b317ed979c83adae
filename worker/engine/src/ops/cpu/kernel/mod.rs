//! The GEMM micro-kernels: rows times packed panels. Linear layers, attention scores and attention values all use them. This module
//! has the kernel over f32 or pairs of bf16; `int8` has the one over blocks of integers.
//!
//! Element (row, column) is one chain of fused multiply-adds over k, started from zero or from what the output
//! holds, in every instruction set and tile shape: so a GEMM that is split over k, rows or columns gives
//! the same bits as a whole one. k ascends; of a pair of bf16 the later number comes first, because the
//! processors' instruction (VDPBF16PS) adds them so, each rounded to f32.

use super::isa::{Isa, isa};
use super::packed_type::PackedType;
use super::{LANES, Lanes};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

pub(super) mod int8;

/// The operands of one GEMM, as pointers; what each tile works on. Strides and `k` count words.
///
/// `y[r * y_stride + 16 p + l] (+)= sum over i < k of x[r * x_stride + i] * w[p * w_stride + i][l]`.
#[derive(Clone, Copy)]
struct Operands {
    x: *const u32,
    x_stride: usize,
    w: *const Lanes,
    w_stride: usize,
    k: usize,
    y: *mut f32,
    y_stride: usize,
    /// Whether the sums continue from what `y` holds.
    resume: bool,
    /// Which pass over the same panels this is.
    pass: usize,
}

impl Operands {
    fn pass(self, pass: usize) -> Self {
        Self { pass, ..self }
    }

    /// Where to ask for weights while `panels` panels are worked on: the first line, and from one panel to the next. Their own lines
    /// `ahead` of use in the first pass over them, which waits for memory; in each of the later ones, which find them in a cache, a panel
    /// of those that come next.
    #[inline(always)]
    fn ahead(self, panels: usize, ahead: usize) -> (*const Lanes, usize) {
        match self.pass {
            pass if (1..=panels).contains(&pass) => {
                let next = (panels + pass - 1) * self.w_stride;
                (self.w.wrapping_add(next), 0)
            }
            _ => (self.w.wrapping_add(ahead), self.w_stride),
        }
    }

    #[allow(unsafe_code)]
    unsafe fn at(self, row: usize, panel: usize) -> Self {
        // SAFETY: the caller stays within the GEMM that it was given.
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

/// Multiplies `rows` rows of `x` by `panels` panels of `w`, each `k` words long, into `y`.
///
/// With `resume` the sums continue from `y`'s contents.
#[allow(clippy::too_many_arguments)]
pub(super) fn multiply(
    packed_type: PackedType,
    rows: usize,
    panels: usize,
    k: usize,
    x: Strided<&[u32]>,
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
        pass: 0,
    };
    // SAFETY: the bounds were asserted above.
    #[allow(unsafe_code)]
    unsafe {
        multiply_at(isa(), packed_type, operands, rows, panels);
    }
}

/// Multiplies by the largest tile `repeats` times, on operands in the nearest caches; returns how many operations that was. The peak rate of a
/// machine for its roofline.
pub fn saturate(packed_type: PackedType, repeats: usize) -> f64 {
    let (rows, panels, k) = (8, 3, 512);
    let (x, w) = (vec![0; rows * k], vec![Lanes::ZERO; panels * k]);
    let mut y = vec![0.0; rows * panels * LANES];
    for _ in 0..repeats {
        let x = Strided {
            data: std::hint::black_box(&x[..]),
            stride: k,
        };
        let w = Strided {
            data: &w[..],
            stride: k,
        };
        let y = Strided {
            data: &mut y[..],
            stride: panels * LANES,
        };
        multiply(packed_type, rows, panels, k, x, w, y, false);
    }
    std::hint::black_box(y);
    let numbers = 4 * k / packed_type.bytes();
    2.0 * (rows * panels * LANES * numbers * repeats) as f64
}

/// The same on bare places, for tasks that write disjoint columns of one output.
///
/// # Safety
/// Every place that the GEMM reads or writes is valid, and nobody else writes them meanwhile.
#[allow(unsafe_code)]
unsafe fn multiply_at(
    isa: Isa,
    packed_type: PackedType,
    operands: Operands,
    rows: usize,
    panels: usize,
) {
    // SAFETY: as the caller promises; the instruction set was detected when it was chosen.
    unsafe {
        match (isa, packed_type) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512Bf16 | Isa::Avx512, PackedType::F32) => {
                avx512::single::multiply(operands, rows, panels);
            }
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512Bf16, PackedType::Bf16) => {
                avx512::pair_dot::multiply(operands, rows, panels)
            }
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, PackedType::Bf16) => avx512::pair::multiply(operands, rows, panels),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, PackedType::F32) => avx2::single::multiply(operands, rows, panels),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, PackedType::Bf16) => avx2::pair::multiply(operands, rows, panels),
            (_, PackedType::F32) => portable::single::multiply(operands, rows, panels),
            (_, PackedType::Bf16) => portable::pair::multiply(operands, rows, panels),
        }
    }
}

/// An output whose columns are shared out among tasks.
#[derive(Clone, Copy)]
pub(super) struct Columns {
    pub(super) start: *mut f32,
    pub(super) length: usize,
    pub(super) stride: usize,
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

/// How many words of k a block of a GEMM covers when there are many rows: its panels then stay in
/// the second-level cache while all rows pass over them.
const DEPTH: usize = 512;
/// Rows up to which panels are worked through one after the other, whole: each is read from memory while the one before it is multiplied.
const CACHED_ROWS: usize = 64;
/// Panels that are worked through together.
const WIDTH: usize = 6;

/// How many panels the widest tiles for so many rows take; fewer at the end of a piece take tiles of one panel, which wait for their sums.
pub(super) fn panels_at_once(rows: usize) -> usize {
    match rows {
        0..=3 => 8,
        4 => 6,
        5 => 5,
        6 => 4,
        _ => 3,
    }
}

/// Multiplies `rows` rows of `x` by panels `first..first + panels` of `w` (each `k` words long) into those
/// columns of `y`, from zero.
///
/// # Safety
/// `y` outlives the call and no other task writes these columns meanwhile.
#[allow(unsafe_code, clippy::too_many_arguments)]
pub(super) unsafe fn multiply_columns(
    packed_type: PackedType,
    rows: usize,
    k: usize,
    x: &[u32],
    w: &[Lanes],
    first: usize,
    panels: usize,
    y: Columns,
) {
    assert!(rows * k <= x.len() && (first + panels) * k <= w.len());
    assert!((rows - 1) * y.stride + (first + panels) * LANES <= y.length);
    let (depth, width) = if rows <= CACHED_ROWS {
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
                    pass: 0,
                };
                multiply_at(isa(), packed_type, operands, rows, count);
            }
        }
    }
}

/// Covers `rows` by `panels` with tiles of the shapes that an instruction set has. `few` lists shapes for so many
/// rows as fit one tile: `rows => panels at a time`. More rows take `many` panels at a time, in tiles of the
/// listed numbers of rows, largest first.
macro_rules! cover {
    ($operands:expr, $rows:expr, $panels:expr, $tile:ident, few: [$($m:literal => $wide:literal),*] many: $narrow:literal, [$($n:literal)*]) => {{
        let (operands, rows, panels) = ($operands, $rows, $panels);
        let mut panel = 0;
        while panel < panels {
            let left = panels - panel;
            $(if rows == $m && left >= $wide {
                // SAFETY: the tile lies within the GEMM.
                unsafe { $tile::<$m, $wide>(operands.at(0, panel)) };
                panel += $wide;
                continue;
            })*
            let wide = left >= $narrow;
            let (mut row, mut pass) = (0, 0);
            while row < rows {
                // SAFETY: as above.
                unsafe {
                    let at = operands.at(row, panel).pass(pass);
                    pass += 1;
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
    use super::{Isa, Operands, PackedType, multiply_at};

    /// Sums in the order that is promised, one element at a time.
    fn by_definition(
        packed_type: PackedType,
        sum: f32,
        x: &[u32],
        w: &[Lanes],
        lane: usize,
    ) -> f32 {
        x.iter().zip(w).fold(sum, |sum, (x, w)| {
            let w = w.0[lane];
            let add = |sum: f32, x: u32, w: u32| f32::from_bits(x).mul_add(f32::from_bits(w), sum);
            match packed_type {
                PackedType::F32 => add(sum, *x, w),
                PackedType::Bf16 => {
                    let later = add(sum, x & 0xffff_0000, w & 0xffff_0000);
                    add(later, x << 16, w << 16)
                }
            }
        })
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    proptest! {
        #[test]
        fn instruction_sets_sum_in_order(
            rows in 1usize..20, panels in 1usize..14, numbers in 1usize..60, resume: bool, tiny: bool,
            half: bool, seed: u32,
        ) {
            let packed_type = if half { PackedType::Bf16 } else { PackedType::F32 };
            let k = packed_type.words(numbers);
            let mut state = seed;
            // Numbers of ordinary size, or down to where bf16 becomes zero.
            let mut random = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let number = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
                if tiny && state & 64 == 0 { number * 2f32.powi(-55) } else { number }
            };
            let mut x = vec![0u32; rows * k];
            for row in x.chunks_exact_mut(k) {
                let numbers: Vec<f32> = (0..numbers).map(|_| random()).collect();
                packed_type.pack_row(&numbers, row);
            }
            let mut w = vec![Lanes::ZERO; panels * k];
            for panel in w.chunks_exact_mut(k) {
                for (index, lane) in (0..numbers).flat_map(|i| (0..LANES).map(move |lane| (i, lane))) {
                    packed_type.put(panel, index, lane, random());
                }
            }
            let start: Vec<f32> = (0..rows * panels * LANES).map(|_| random()).collect();
            let expected: Vec<f32> = (0..start.len()).map(|place| {
                let (row, column) = (place / (panels * LANES), place % (panels * LANES));
                let sum = if resume { start[place] } else { 0.0 };
                let panel = &w[column / LANES * k..][..k];
                by_definition(packed_type, sum, &x[row * k..][..k], panel, column % LANES)
            }).collect();
            for isa in Isa::available() {
                let mut y = start.clone();
                let operands = Operands {
                    x: x.as_ptr(), x_stride: k, w: w.as_ptr(), w_stride: k, k,
                    y: y.as_mut_ptr(), y_stride: panels * LANES, resume, pass: 0,
                };
                // SAFETY: the vectors have the sizes that the strides say, and the machine has the instructions.
                #[allow(unsafe_code)]
                unsafe { multiply_at(isa, packed_type, operands, rows, panels) };
                prop_assert_eq!(bits(&y), bits(&expected), "{}", isa.name());
            }
        }
    }
}
