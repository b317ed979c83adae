//! Tiles in AVX-512 with VNNI, whose dot product takes weights without a sign: what their bias adds is the
//! same for every column, so each block's sums start from minus that.

use std::arch::x86_64::{
    _MM_HINT_T0, _mm_prefetch, _mm256_loadu_si256, _mm512_cvtepi32_ps, _mm512_cvtph_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_load_si512, _mm512_loadu_ps, _mm512_mul_ps,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_storeu_ps,
};

use super::{LANES, Operands, WORDS, cover};

/// How far ahead of use weights are asked for, in cache lines of all panels that are worked on together: what is under way from memory
/// at once is then the same for every shape. Less leaves tiles of many rows waiting, more pushes lines out of the nearest cache.
const AHEAD: usize = 128;

/// # Safety
/// The operands are valid for `rows` by `panels`, and the machine has AVX-512F and VNNI.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn multiply(operands: Operands, rows: usize, panels: usize) {
    cover!(operands, rows, panels, tile, few: [1 => 8, 2 => 6, 3 => 4, 4 => 3] many: 2, [6 5 4 3 2 1]);
}

#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512vnni")]
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
        for block in 0..at.blocks {
            let mut dots = [[_mm512_setzero_si512(); N]; M];
            for (row, dots) in dots.iter_mut().enumerate() {
                *dots = [_mm512_set1_epi32(*at.x_offsets.add(row * at.stride + block)); N];
            }
            for word in 0..WORDS {
                let mut weights = [_mm512_setzero_si512(); N];
                for (panel, weight) in weights.iter_mut().enumerate() {
                    let place = at.w.add((panel * at.stride + block) * WORDS + word);
                    *weight = _mm512_load_si512(place.cast());
                    _mm_prefetch::<_MM_HINT_T0>(place.wrapping_add(AHEAD / N).cast());
                }
                for (row, dots) in dots.iter_mut().enumerate() {
                    let x = *at.x.add((row * at.stride + block) * WORDS + word);
                    let x = _mm512_set1_epi32(x.cast_signed());
                    for (dot, weight) in dots.iter_mut().zip(weights) {
                        *dot = _mm512_dpbusd_epi32(*dot, weight, x);
                    }
                }
            }
            for panel in 0..N {
                let scales = at.w_scales.add(panel * at.stride + block);
                let scales = _mm512_cvtph_ps(_mm256_loadu_si256(scales.cast()));
                for row in 0..M {
                    let x_scale = _mm512_set1_ps(*at.x_scales.add(row * at.stride + block));
                    let dot = _mm512_cvtepi32_ps(dots[row][panel]);
                    let scale = _mm512_mul_ps(x_scale, scales);
                    sums[row][panel] = _mm512_fmadd_ps(dot, scale, sums[row][panel]);
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
