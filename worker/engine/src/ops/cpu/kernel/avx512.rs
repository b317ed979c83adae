//! Tiles in AVX-512: a panel is one register wide.

use std::arch::x86_64::{
    __m512, __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_and_si512, _mm512_castsi512_ps,
    _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_load_si512, _mm512_loadu_ps, _mm512_set1_epi32,
    _mm512_setzero_ps, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_storeu_ps,
};

use super::super::LANES;
use super::{Operands, cover};

/// How far ahead of use weights are asked for, in cache lines of all panels that are worked on together: what is under way from memory
/// at once is then the same for every shape. Less leaves tiles of many rows waiting, more pushes lines out of the nearest cache.
const AHEAD: usize = 128;

#[inline]
#[target_feature(enable = "avx512f")]
fn add_f32(sum: __m512, x: __m512i, w: __m512i) -> __m512 {
    _mm512_fmadd_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(w), sum)
}

/// The later number of each pair first, as the instruction for pairs does.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_bf16(sum: __m512, x: __m512i, w: __m512i) -> __m512 {
    let upper = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
    let sum = add_f32(sum, _mm512_and_si512(x, upper), _mm512_and_si512(w, upper));
    add_f32(sum, _mm512_slli_epi32::<16>(x), _mm512_slli_epi32::<16>(w))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn dot_bf16(sum: __m512, x: __m512i, w: __m512i) -> __m512 {
    _mm512_dpbf16_ps(sum, x.into_bf16(), w.into_bf16())
}

/// Tiles whose sums grow by `$add`, in a module of their own.
macro_rules! tiles {
    ($name:ident, $features:literal, $add:ident) => {
        pub(super) mod $name {
            use super::*;

            /// # Safety
            /// The operands are valid for `rows` by `panels`, and the machine has the instructions.
            #[allow(unsafe_code)]
            #[target_feature(enable = $features)]
            pub(in super::super) unsafe fn multiply(
                operands: Operands,
                rows: usize,
                panels: usize,
            ) {
                cover!(operands, rows, panels, tile, few: [1 => 8, 2 => 8, 3 => 8, 4 => 6, 5 => 5, 6 => 4] many: 3, [8 7 6 5 4 3 2 1]);
            }

            #[allow(unsafe_code)]
            #[target_feature(enable = $features)]
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
                    let (ahead, step) = at.ahead(N, AHEAD / N);
                    for index in 0..at.k {
                        let mut weights = [_mm512_setzero_si512(); N];
                        for (panel, weight) in weights.iter_mut().enumerate() {
                            let place = at.w.add(panel * at.w_stride + index);
                            *weight = _mm512_load_si512(place.cast());
                            // Wider tiles are those of few rows, which pass over their panels once.
                            let asked = match N {
                                ..=3 => ahead.wrapping_add(panel * step + index),
                                _ => place.wrapping_add(AHEAD / N),
                            };
                            _mm_prefetch::<_MM_HINT_T0>(asked.cast());
                        }
                        for (row, sums) in sums.iter_mut().enumerate() {
                            let x = _mm512_set1_epi32(
                                (*at.x.add(row * at.x_stride + index)).cast_signed(),
                            );
                            for (sum, weight) in sums.iter_mut().zip(weights) {
                                *sum = $add(*sum, x, weight);
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
        }
    };
}

tiles!(single, "avx512f", add_f32);
tiles!(pair, "avx512f", add_bf16);
tiles!(pair_dot, "avx512f,avx512bf16", dot_bf16);

/// The type by which the bf16 instructions take a register.
trait IntoBf16 {
    fn into_bf16(self) -> std::arch::x86_64::__m512bh;
}

impl IntoBf16 for __m512i {
    #[inline(always)]
    #[allow(unsafe_code)]
    fn into_bf16(self) -> std::arch::x86_64::__m512bh {
        // SAFETY: both are one register of 512 bits without invalid values.
        unsafe { std::mem::transmute(self) }
    }
}
