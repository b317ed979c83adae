//! Tiles in plain Rust.

use half::f16;

use super::{BIAS, LANES, Operands, WORDS, cover};

/// # Safety
/// The operands are valid for `rows` by `panels`.
#[allow(unsafe_code)]
pub(super) unsafe fn multiply(operands: Operands, rows: usize, panels: usize) {
    cover!(operands, rows, panels, tile, few: [] many: 1, [2 1]);
}

#[allow(unsafe_code)]
unsafe fn tile<const M: usize, const N: usize>(at: Operands) {
    // SAFETY: the caller's operands cover M rows and N panels.
    unsafe {
        for row in 0..M {
            for panel in 0..N {
                let place = at.y.add(row * at.y_stride + panel * LANES).cast();
                let mut sums: [f32; LANES] = if at.resume { *place } else { [0.0; LANES] };
                for block in 0..at.blocks {
                    let mut dots = [0i32; LANES];
                    for word in 0..WORDS {
                        let x = *at.x.add((row * at.stride + block) * WORDS + word);
                        let w = &*at.w.add((panel * at.stride + block) * WORDS + word);
                        for (dot, w) in dots.iter_mut().zip(w.0) {
                            for (x, w) in x.to_le_bytes().into_iter().zip(w.to_le_bytes()) {
                                *dot += i32::from(x.cast_signed()) * (i32::from(w) - BIAS);
                            }
                        }
                    }
                    let x_scale = *at.x_scales.add(row * at.stride + block);
                    let w_scales = &*at.w_scales.add(panel * at.stride + block);
                    for ((sum, dot), scale) in sums.iter_mut().zip(dots).zip(w_scales) {
                        let scale = x_scale * f16::from_bits(*scale).to_f32();
                        *sum = (dot as f32).mul_add(scale, *sum);
                    }
                }
                *place = sums;
            }
        }
    }
}
