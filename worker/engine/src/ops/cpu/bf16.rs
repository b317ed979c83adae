//! Rounding of f32 to bf16, the same on every processor.

/// Numbers below this become zero when they are rounded to bf16. A product of two that remain is a multiple of
/// 2^-124, so that no sum of products is ever subnormal: processors whose bf16 instructions flush subnormal
/// numbers then give the same bits as those without such instructions.
const SMALLEST: f32 = f32::from_bits((127 - 55) << 23);

/// `x` rounded to the nearest bf16, ties to even; zero below 2^-55. Not a number stays so.
#[inline(always)]
pub(super) fn bf16_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1))) >> 16;
    let rounded = if x.abs() < SMALLEST { 0 } else { rounded };
    if x.is_nan() { 0x7fc0 } else { rounded }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::bf16_bits;

    proptest! {
        #[test]
        fn rounds_to_nearest_even(x in -1e30f32..1e30) {
            let rounded = half::bf16::from_f32(x);
            prop_assert_eq!(bf16_bits(x), u32::from(rounded.to_bits()));
        }
    }

    #[test]
    fn tiny_is_zero_nan_stays() {
        let edge = 2f32.powi(-55);
        assert_eq!(
            bf16_bits(edge),
            u32::from(half::bf16::from_f32(edge).to_bits())
        );
        assert_eq!(bf16_bits(edge * 0.999), 0);
        assert_eq!(bf16_bits(-1e-30), 0);
        for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7fff_ffff)] {
            assert!(f32::from_bits(bf16_bits(nan) << 16).is_nan());
        }
    }
}
