//! Tiles in AVX2: a panel is two registers wide. Products of bytes are added in pairs of 16 bits, which hold
//! them because no number is below -127: one factor gets the other's sign, as the instruction wants it.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_loadu_si128, _mm256_abs_epi8, _mm256_add_epi32,
    _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_load_si256, _mm256_loadu_ps,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sign_epi8,
    _mm256_storeu_ps, _mm256_xor_si256,
};

use super::{LANES, Operands, WORDS, cover};

/// Columns of a register.
const WIDTH: usize = 8;

/// # Safety
/// The operands are valid for `rows` by `panels`, and the machine has AVX2, FMA and F16C.
#[allow(unsafe_code)]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn multiply(operands: Operands, rows: usize, panels: usize) {
    cover!(operands, rows, panels, tile, few: [] many: 1, [2 1]);
}

#[allow(unsafe_code)]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<const M: usize, const N: usize>(at: Operands) {
    // SAFETY: the caller's operands cover M rows and N panels.
    unsafe {
        for panel in 0..N {
            let mut sums: [[__m256; 2]; M] = [[_mm256_setzero_ps(); 2]; M];
            let output = |row: usize| at.y.add(row * at.y_stride + panel * LANES);
            if at.resume {
                for (row, [low, high]) in sums.iter_mut().enumerate() {
                    *low = _mm256_loadu_ps(output(row));
                    *high = _mm256_loadu_ps(output(row).add(WIDTH));
                }
            }
            for block in 0..at.blocks {
                let mut dots: [[__m256i; 2]; M] = [[_mm256_setzero_si256(); 2]; M];
                for word in 0..WORDS {
                    let place: *const __m256i =
                        at.w.add((panel * at.stride + block) * WORDS + word).cast();
                    let bias = _mm256_set1_epi8(-128);
                    let weights = [
                        _mm256_xor_si256(_mm256_load_si256(place), bias),
                        _mm256_xor_si256(_mm256_load_si256(place.add(1)), bias),
                    ];
                    for (row, dots) in dots.iter_mut().enumerate() {
                        let x = *at.x.add((row * at.stride + block) * WORDS + word);
                        let x = _mm256_set1_epi32(x.cast_signed());
                        for (dot, weight) in dots.iter_mut().zip(weights) {
                            let pairs = _mm256_maddubs_epi16(
                                _mm256_abs_epi8(x),
                                _mm256_sign_epi8(weight, x),
                            );
                            let fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
                            *dot = _mm256_add_epi32(*dot, fours);
                        }
                    }
                }
                let scales: *const __m128i = at.w_scales.add(panel * at.stride + block).cast();
                let scales = [
                    _mm256_cvtph_ps(_mm_loadu_si128(scales)),
                    _mm256_cvtph_ps(_mm_loadu_si128(scales.add(1))),
                ];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x_scale = _mm256_set1_ps(*at.x_scales.add(row * at.stride + block));
                    for half in 0..2 {
                        let dot = _mm256_cvtepi32_ps(dots[row][half]);
                        let scale = _mm256_mul_ps(x_scale, scales[half]);
                        sums[half] = _mm256_fmadd_ps(dot, scale, sums[half]);
                    }
                }
            }
            for (row, [low, high]) in sums.iter().enumerate() {
                _mm256_storeu_ps(output(row), *low);
                _mm256_storeu_ps(output(row).add(WIDTH), *high);
            }
        }
    }
}
