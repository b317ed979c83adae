//! Tiles in plain Rust. `mul_add` rounds once, as the vector instructions do; where the processor has no
//! fused instruction it is slow but right.

use super::super::LANES;
use super::{Operands, cover};

/// # Safety
/// The operands are valid for `rows` by `panels`.
#[allow(unsafe_code)]
pub(super) unsafe fn multiply(operands: Operands, rows: usize, panels: usize) {
    cover!(operands, rows, panels, tile, few: 1 => 2, [1] many: 1, [2 1]);
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
                        *sum = x.mul_add(*weight, *sum);
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
