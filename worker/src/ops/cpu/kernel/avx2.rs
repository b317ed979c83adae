//! Tiles in AVX2 with FMA: a panel is two registers wide.

use std::arch::x86_64::{
    __m256, _mm256_fmadd_ps, _mm256_load_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_storeu_ps,
};

use super::super::LANES;
use super::{Operands, cover};

/// Elements of a register.
const WIDTH: usize = 8;

/// # Safety
/// The operands are valid for `rows` by `panels`, and the machine has AVX2 and FMA.
#[allow(unsafe_code)]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn multiply(operands: Operands, rows: usize, panels: usize) {
    cover!(operands, rows, panels, tile, few: 1 => 4, [1] many: 2, [3 2 1]);
}

#[allow(unsafe_code)]
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const M: usize, const N: usize>(at: Operands) {
    // SAFETY: the caller's operands cover M rows and N panels.
    unsafe {
        let mut sums: [[[__m256; 2]; N]; M] = [[[_mm256_setzero_ps(); 2]; N]; M];
        if at.resume {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (panel, [low, high]) in sums.iter_mut().enumerate() {
                    let place = at.y.add(row * at.y_stride + panel * LANES);
                    *low = _mm256_loadu_ps(place);
                    *high = _mm256_loadu_ps(place.add(WIDTH));
                }
            }
        }
        for index in 0..at.k {
            for panel in 0..N {
                let place: *const f32 = at.w.add(panel * at.w_stride + index).cast();
                let (low, high) = (_mm256_load_ps(place), _mm256_load_ps(place.add(WIDTH)));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = _mm256_set1_ps(*at.x.add(row * at.x_stride + index));
                    sums[panel][0] = _mm256_fmadd_ps(x, low, sums[panel][0]);
                    sums[panel][1] = _mm256_fmadd_ps(x, high, sums[panel][1]);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (panel, [low, high]) in sums.iter().enumerate() {
                let place = at.y.add(row * at.y_stride + panel * LANES);
                _mm256_storeu_ps(place, *low);
                _mm256_storeu_ps(place.add(WIDTH), *high);
            }
        }
    }
}
