//! Tiles in AVX2 with FMA: a panel is two registers wide.

use std::arch::x86_64::{
    __m256, __m256i, _mm256_and_si256, _mm256_castsi256_ps, _mm256_fmadd_ps, _mm256_load_si256,
    _mm256_loadu_ps, _mm256_set1_epi32, _mm256_setzero_ps, _mm256_slli_epi32, _mm256_storeu_ps,
};

use super::super::LANES;
use super::{Operands, cover};

/// Columns of a register.
const WIDTH: usize = 8;

#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_f32(sum: __m256, x: __m256i, w: __m256i) -> __m256 {
    _mm256_fmadd_ps(_mm256_castsi256_ps(x), _mm256_castsi256_ps(w), sum)
}

/// The later number of each pair first, as the wider machines' instruction for pairs does.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_bf16(sum: __m256, x: __m256i, w: __m256i) -> __m256 {
    let upper = _mm256_set1_epi32(0xffff_0000_u32.cast_signed());
    let sum = add_f32(sum, _mm256_and_si256(x, upper), _mm256_and_si256(w, upper));
    add_f32(sum, _mm256_slli_epi32::<16>(x), _mm256_slli_epi32::<16>(w))
}

/// Tiles whose sums grow by `$add`, in a module of their own.
macro_rules! tiles {
    ($name:ident, $add:ident, $($shapes:tt)*) => {
        pub(super) mod $name {
            use super::*;

            /// # Safety
            /// The operands are valid for `rows` by `panels`, and the machine has AVX2 and FMA.
            #[allow(unsafe_code)]
            #[target_feature(enable = "avx2,fma")]
            pub(in super::super) unsafe fn multiply(
                operands: Operands,
                rows: usize,
                panels: usize,
            ) {
                cover!(operands, rows, panels, tile, $($shapes)*);
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
                            let place: *const __m256i =
                                at.w.add(panel * at.w_stride + index).cast();
                            let low = _mm256_load_si256(place);
                            let high = _mm256_load_si256(place.add(1));
                            for (row, sums) in sums.iter_mut().enumerate() {
                                let x = _mm256_set1_epi32(
                                    (*at.x.add(row * at.x_stride + index)).cast_signed(),
                                );
                                let [low_sum, high_sum] = &mut sums[panel];
                                *low_sum = $add(*low_sum, x, low);
                                *high_sum = $add(*high_sum, x, high);
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
        }
    };
}

// Sixteen registers hold 12 sums of single numbers; pairs need four more for the halves of both operands.
tiles!(single, add_f32, few: [1 => 4] many: 2, [3 2 1]);
tiles!(pair, add_bf16, few: [1 => 4] many: 1, [4 3 2 1]);
