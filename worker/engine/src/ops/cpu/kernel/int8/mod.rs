//! The GEMM micro-kernel over 8-bit integers. Rows and weights come in blocks of [`BLOCK`] numbers with a scale each; a
//! block's dot product is an exact integer, and an element is one chain of fused multiply-adds of those
//! integers with the product of both scales, over blocks in ascending order. So every instruction set and
//! every way to split the GEMM gives the same bits.

use super::super::isa::{Isa, isa};
use super::super::{LANES, Lanes};
use super::{Columns, cover};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

/// Numbers that share a scale.
pub(in crate::ops::cpu) const BLOCK: usize = 32;
/// Words of a block: four numbers each.
pub(in crate::ops::cpu) const WORDS: usize = BLOCK / 4;
/// What is added to a weight so that it is stored without a sign.
pub(in crate::ops::cpu) const BIAS: i32 = 128;

/// Scales of one block of sixteen columns, in half precision.
pub(in crate::ops::cpu) type Scales = [u16; LANES];

/// Rows of activations: `[row][block]`, each block [`WORDS`] words of four signed bytes.
#[derive(Clone, Copy)]
pub(in crate::ops::cpu) struct QuantisedRows<'a> {
    pub(in crate::ops::cpu) words: &'a [u32],
    pub(in crate::ops::cpu) scales: &'a [f32],
    /// [`BIAS`] times the sum of each block's numbers, negative: what the weights' bias adds to a dot product.
    pub(in crate::ops::cpu) offsets: &'a [i32],
}

/// Panels of weights: `[panel][block]`, each block [`WORDS`] registers of sixteen columns of four bytes.
#[derive(Clone, Copy)]
pub(in crate::ops::cpu) struct QuantisedPanels<'a> {
    pub(in crate::ops::cpu) words: &'a [Lanes],
    pub(in crate::ops::cpu) scales: &'a [Scales],
}

/// The operands of one GEMM, as pointers. Strides are in blocks.
#[derive(Clone, Copy)]
struct Operands {
    x: *const u32,
    x_scales: *const f32,
    x_offsets: *const i32,
    w: *const Lanes,
    w_scales: *const Scales,
    /// From one row, or one panel, to the next.
    stride: usize,
    blocks: usize,
    y: *mut f32,
    y_stride: usize,
    /// Whether the sums continue from what `y` holds.
    resume: bool,
}

impl Operands {
    fn pass(self, _pass: usize) -> Self {
        self
    }

    #[allow(unsafe_code)]
    unsafe fn at(self, row: usize, panel: usize) -> Self {
        // SAFETY: the caller stays within the GEMM that it was given.
        unsafe {
            Self {
                x: self.x.add(row * self.stride * WORDS),
                x_scales: self.x_scales.add(row * self.stride),
                x_offsets: self.x_offsets.add(row * self.stride),
                w: self.w.add(panel * self.stride * WORDS),
                w_scales: self.w_scales.add(panel * self.stride),
                y: self.y.add(row * self.y_stride + panel * LANES),
                ..self
            }
        }
    }
}

#[allow(unsafe_code)]
unsafe fn multiply_at(isa: Isa, operands: Operands, rows: usize, panels: usize) {
    // SAFETY: as the caller promises; the instruction set was detected when it was chosen.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => avx512::multiply(operands, rows, panels),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx2 => avx2::multiply(operands, rows, panels),
            _ => portable::multiply(operands, rows, panels),
        }
    }
}

/// How many blocks a part of a GEMM covers when there are many rows, and its panels.
const DEPTH: usize = 64;
const WIDTH: usize = 4;
/// As many rows as one pass holds in registers.
const FEW_ROWS: usize = 8;

/// Multiplies `rows` rows by panels `first..first + panels`, `blocks` blocks each, into those columns of `y`,
/// from zero.
///
/// # Safety
/// `y` outlives the call and no other task writes these columns meanwhile.
#[allow(unsafe_code)]
pub(in crate::ops::cpu) unsafe fn multiply_columns(
    rows: usize,
    blocks: usize,
    x: QuantisedRows<'_>,
    w: QuantisedPanels<'_>,
    first: usize,
    panels: usize,
    y: Columns,
) {
    assert!(rows * blocks * WORDS <= x.words.len());
    assert!(rows * blocks <= x.scales.len().min(x.offsets.len()));
    assert!((first + panels) * blocks * WORDS <= w.words.len());
    assert!((first + panels) * blocks <= w.scales.len());
    assert!((rows - 1) * y.stride + (first + panels) * LANES <= y.length);
    let (depth, width) = if rows <= FEW_ROWS {
        (blocks, panels)
    } else {
        (DEPTH, WIDTH)
    };
    for panel in (first..first + panels).step_by(width.max(1)) {
        let count = width.min(first + panels - panel);
        for start in (0..blocks).step_by(depth.max(1)) {
            // SAFETY: within the bounds asserted above; columns are this task's own.
            unsafe {
                let operands = Operands {
                    x: x.words.as_ptr().add(start * WORDS),
                    x_scales: x.scales.as_ptr().add(start),
                    x_offsets: x.offsets.as_ptr().add(start),
                    w: w.words.as_ptr().add((panel * blocks + start) * WORDS),
                    w_scales: w.scales.as_ptr().add(panel * blocks + start),
                    stride: blocks,
                    blocks: depth.min(blocks - start),
                    y: y.start.add(panel * LANES),
                    y_stride: y.stride,
                    resume: start > 0,
                };
                multiply_at(isa(), operands, rows, count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn instruction_sets_sum_in_order(
            rows in 1usize..16, panels in 1usize..10, blocks in 1usize..5, resume: bool, extreme: bool, seed: u32,
        ) {
            let mut state = seed;
            let mut random = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state >> 8
            };
            // -127 to 127; all at the ends where sums could overflow narrow integers.
            let number = |random: &mut dyn FnMut() -> u32| -> i32 {
                let drawn = random();
                if extreme { if drawn.is_multiple_of(2) { 127 } else { -127 } } else { (drawn % 255) as i32 - 127 }
            };
            let x: Vec<i32> = (0..rows * blocks * BLOCK).map(|_| number(&mut random)).collect();
            let w: Vec<i32> = (0..panels * LANES * blocks * BLOCK).map(|_| number(&mut random)).collect();
            let words: Vec<u32> = x.chunks_exact(4)
                .map(|four| u32::from_le_bytes(std::array::from_fn(|byte| four[byte] as u8))).collect();
            let offsets: Vec<i32> = x.chunks_exact(BLOCK).map(|block| -BIAS * block.iter().sum::<i32>()).collect();
            let scales: Vec<f32> = offsets.iter().map(|_| random() as f32 * 1e-9).collect();
            let w_units: Vec<Lanes> = (0..panels * blocks * WORDS).map(|place| {
                let (panel, word) = (place / (blocks * WORDS), place % (blocks * WORDS));
                Lanes(std::array::from_fn(|lane| {
                    let row = &w[(panel * LANES + lane) * blocks * BLOCK..];
                    u32::from_le_bytes(std::array::from_fn(|byte| (row[word * 4 + byte] + BIAS) as u8))
                }))
            }).collect();
            let w_scales: Vec<Scales> = (0..panels * blocks)
                .map(|_| std::array::from_fn(|_| half::f16::from_f32(random() as f32 * 1e-10).to_bits())).collect();
            let start: Vec<f32> = (0..rows * panels * LANES).map(|_| random() as f32 * 1e-7).collect();
            let expected: Vec<u32> = (0..start.len()).map(|place| {
                let (row, column) = (place / (panels * LANES), place % (panels * LANES));
                let mut sum = if resume { start[place] } else { 0.0 };
                for block in 0..blocks {
                    let x = &x[(row * blocks + block) * BLOCK..][..BLOCK];
                    let w = &w[(column * blocks + block) * BLOCK..][..BLOCK];
                    let dot: i32 = x.iter().zip(w).map(|(x, w)| x * w).sum();
                    let scale = half::f16::from_bits(w_scales[column / LANES * blocks + block][column % LANES]);
                    sum = (dot as f32).mul_add(scales[row * blocks + block] * scale.to_f32(), sum);
                }
                sum.to_bits()
            }).collect();
            for isa in Isa::available() {
                let mut y = start.clone();
                let operands = Operands {
                    x: words.as_ptr(), x_scales: scales.as_ptr(), x_offsets: offsets.as_ptr(),
                    w: w_units.as_ptr(), w_scales: w_scales.as_ptr(), stride: blocks, blocks,
                    y: y.as_mut_ptr(), y_stride: panels * LANES, resume,
                };
                // SAFETY: the vectors have the sizes that the strides say, and the machine has the instructions.
                #[allow(unsafe_code)]
                unsafe { multiply_at(isa, operands, rows, panels) };
                let found: Vec<u32> = y.iter().map(|y| y.to_bits()).collect();
                prop_assert_eq!(&found, &expected, "{}", isa.name());
            }
        }
    }
}
