//! Tiles in AVX-512: a panel is one register wide.

use std::arch::x86_64::{
    _MM_HINT_T0, _mm_prefetch, _mm512_fmadd_ps, _mm512_load_ps, _mm512_loadu_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_storeu_ps,
};

use super::super::LANES;
use super::{Operands, cover};

/// How far ahead of use weights are asked for, in cache lines of one panel.
const AHEAD: usize = 16;

/// # Safety
/// The operands are valid for `rows` by `panels`, and the machine has AVX-512F.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn multiply(operands: Operands, rows: usize, panels: usize) {
    cover!(operands, rows, panels, tile, few: 3 => 8, [1 2 3] many: 4, [6 5 4 3 2 1]);
}

#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
unsafe fn tile<const M: usize, const N: usize>(at: Operands) {
    // SAFETY: the caller's operands cover M rows and N panels.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); N]; M];
        if at.resume {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (panel, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm512_loadu_ps(at.y.add(row * at.y_stride + panel * LANES));
                }
            }
        }
        for index in 0..at.k {
            let mut weights = [_mm512_setzero_ps(); N];
            for (panel, weight) in weights.iter_mut().enumerate() {
                let place = at.w.add(panel * at.w_stride + index);
                *weight = _mm512_load_ps(place.cast());
                _mm_prefetch::<_MM_HINT_T0>(place.wrapping_add(AHEAD).cast());
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*at.x.add(row * at.x_stride + index));
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum = _mm512_fmadd_ps(x, weight, *sum);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (panel, sum) in sums.iter().enumerate() {
                _mm512_storeu_ps(at.y.add(row * at.y_stride + panel * LANES), *sum);
            }
        }
    }
}
