//! Tiles in plain Rust. `mul_add` rounds once, as the vector instructions do; where the processor has no
//! fused instruction it is slow but right.

use super::super::LANES;
use super::{Operands, cover};

#[inline(always)]
fn add_f32(sum: f32, x: u32, w: u32) -> f32 {
    f32::from_bits(x).mul_add(f32::from_bits(w), sum)
}

/// The later number of each pair first, as the vector instruction for pairs does.
#[inline(always)]
pub(super) fn add_bf16(sum: f32, x: u32, w: u32) -> f32 {
    let sum = add_f32(sum, x & 0xffff_0000, w & 0xffff_0000);
    add_f32(sum, x << 16, w << 16)
}

/// Tiles whose sums grow by `$add`, in a module of their own.
macro_rules! tiles {
    ($name:ident, $add:ident) => {
        pub(super) mod $name {
            use super::*;

            /// # Safety
            /// The operands are valid for `rows` by `panels`.
            #[allow(unsafe_code)]
            pub(in super::super) unsafe fn multiply(
                operands: Operands,
                rows: usize,
                panels: usize,
            ) {
                cover!(operands, rows, panels, tile, few: [1 => 2] many: 1, [2 1]);
            }

            #[allow(unsafe_code)]
            unsafe fn tile<const M: usize, const N: usize>(at: Operands) {
                // SAFETY: the caller's operands cover M rows and N panels.
                unsafe {
                    let mut sums = [[[0.0f32; LANES]; N]; M];
                    if at.resume {
                        for (row, sums) in sums.iter_mut().enumerate() {
                            for (panel, sum) in sums.iter_mut().enumerate() {
                                let place = at.y.add(row * at.y_stride + panel * LANES);
                                *sum = place.cast::<[f32; LANES]>().read();
                            }
                        }
                    }
                    for index in 0..at.k {
                        for panel in 0..N {
                            let weights = &(*at.w.add(panel * at.w_stride + index)).0;
                            for (row, sums) in sums.iter_mut().enumerate() {
                                let x = *at.x.add(row * at.x_stride + index);
                                for (sum, weight) in sums[panel].iter_mut().zip(weights) {
                                    *sum = $add(*sum, x, *weight);
                                }
                            }
                        }
                    }
                    for (row, sums) in sums.iter().enumerate() {
                        for (panel, sum) in sums.iter().enumerate() {
                            at.y.add(row * at.y_stride + panel * LANES)
                                .cast::<[f32; LANES]>()
                                .write(*sum);
                        }
                    }
                }
            }
        }
    };
}

tiles!(single, add_f32);
tiles!(pair, add_bf16);
