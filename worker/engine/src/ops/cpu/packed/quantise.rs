//! Rows of weights as blocks of 8-bit integers: from numbers to Q8_0, the form that files have, and from there to the form
//! that is multiplied.

use half::f16;

use crate::ops::cpu::isa::{Isa, for_each_isa, isa};
use crate::ops::cpu::kernel::int8::{BIAS, BLOCK, WORDS};

/// Bytes of a Q8_0 block.
pub(super) const BLOCK_BYTES: usize = BLOCK + 2;

for_each_isa!(
    /// Quantises whole blocks of finite numbers as Q8_0: every number is within half a step of its own. A block with another
    /// number gets a scale that is none.
    quantise_row, quantise_row_on, quantise_row_plain, (row: &[f32], out: &mut [u8])
);
for_each_isa!(
    /// Packs one row of Q8_0 blocks into words and scales; returns the largest magnitude in it, which is not a number where a scale is none.
    pack_blocks, pack_blocks_on, pack_blocks_plain, (row: &[u8], words: &mut [u32], scales: &mut [u16]) -> f32
);

#[inline(always)]
fn quantise_row_plain(row: &[f32], out: &mut [u8]) {
    // Adding this rounds to an integer, ties to even, and leaves it in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let blocks = row.as_chunks::<BLOCK>().0.iter();
    for (block, out) in blocks.zip(out.as_chunks_mut::<BLOCK_BYTES>().0) {
        let (mut largest, mut zero) = (0.0f32, 0.0f32);
        for x in block {
            largest = if x.abs() > largest { x.abs() } else { largest };
            // Zero, unless the number is not finite.
            zero += x * 0.0;
        }
        let largest = largest + zero;
        let mut scale = f16::from_f32(largest / 127.0);
        if scale.to_f32() * 127.0 < largest && scale < f16::MAX {
            // Rounded down, the scale would not reach the largest number.
            scale = f16::from_bits(scale.to_bits() + 1);
        }
        let step = scale.to_f32();
        let [low, high, numbers @ ..] = out;
        [*low, *high] = scale.to_le_bytes();
        for (number, x) in numbers.iter_mut().zip(block) {
            let steps = if step > 0.0 { x / step } else { 0.0 };
            *number = (steps.clamp(-127.0, 127.0) + ROUND).to_bits() as u8;
        }
    }
}

#[inline(always)]
fn pack_blocks_plain(row: &[u8], words: &mut [u32], scales: &mut [u16]) -> f32 {
    // The largest but for what is not finite: any such scale makes the sum no number.
    let (mut largest, mut zero) = (0.0f32, 0.0f32);
    let (blocks, _) = row.as_chunks::<BLOCK_BYTES>();
    let places = words.as_chunks_mut::<WORDS>().0.iter_mut().zip(scales);
    for ([low, high, numbers @ ..], (words, stored)) in blocks.iter().zip(places) {
        let mut bytes = [0u8; BLOCK];
        let mut most = 0u8;
        for (byte, number) in bytes.iter_mut().zip(numbers) {
            // -128 would overflow where pairs of products are added in 16 bits; quantisers do not write it.
            let number = number.cast_signed().max(-127);
            most = most.max(number.unsigned_abs());
            *byte = number.cast_unsigned().wrapping_add(BIAS as u8);
        }
        for (word, four) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*four);
        }
        let scale = f16::from_le_bytes([*low, *high]);
        *stored = scale.to_bits();
        let magnitude = scale.to_f32().abs() * f32::from(most);
        largest = if magnitude > largest {
            magnitude
        } else {
            largest
        };
        zero += scale.to_f32() * 0.0;
    }
    largest + zero
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn instruction_sets_quantise_the_same_bits(
            row in prop::collection::vec(-3.0f32..3.0, 3 * BLOCK), size in -10i32..10,
        ) {
            let row: Vec<f32> = row.iter().map(|x| x * 2f32.powi(size)).collect();
            let all = |isa: Isa| {
                let mut bytes = vec![0; 3 * BLOCK_BYTES];
                quantise_row_on(isa, &row, &mut bytes);
                let (mut words, mut scales) = (vec![0; 3 * WORDS], vec![0; 3]);
                let largest = pack_blocks_on(isa, &bytes, &mut words, &mut scales).to_bits();
                (bytes, words, scales, largest)
            };
            let expected = all(Isa::Portable);
            for isa in Isa::available() {
                prop_assert_eq!(&all(isa), &expected, "{}", isa.name());
            }
            let numbers = expected.1.iter().flat_map(|word| word.to_le_bytes());
            for (index, (number, x)) in numbers.zip(&row).enumerate() {
                let step = f16::from_bits(expected.2[index / BLOCK]).to_f32();
                let found = (i32::from(number) - BIAS) as f32 * step;
                prop_assert!((found - x).abs() <= 0.501 * step);
            }
        }

        #[test]
        fn packs_any_bytes_above_minus_128(
            numbers in prop::collection::vec(any::<i8>(), BLOCK),
        ) {
            let mut row = f16::from_f32(0.5).to_le_bytes().to_vec();
            row.extend(numbers.iter().map(|number| number.cast_unsigned()));
            let (mut words, mut scales) = (vec![0; WORDS], vec![0; 1]);
            let largest = pack_blocks(&row, &mut words, &mut scales);
            let kept: Vec<i32> = numbers.iter().map(|number| i32::from(*number).max(-127)).collect();
            let laid: Vec<i32> =
                words.iter().flat_map(|word| word.to_le_bytes()).map(|byte| i32::from(byte) - BIAS).collect();
            prop_assert_eq!(&laid, &kept);
            prop_assert_eq!(largest, 0.5 * kept.iter().map(|number| number.abs()).max().unwrap_or(0) as f32);
        }
    }

    #[test]
    fn magnitude_is_nan_if_not_finite() {
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut row = [1.0; 2 * BLOCK];
            row[3] = wrong;
            let mut bytes = vec![0; 2 * BLOCK_BYTES];
            quantise_row(&row, &mut bytes);
            let (mut words, mut scales) = (vec![0; 2 * WORDS], vec![0; 2]);
            assert!(pack_blocks(&bytes, &mut words, &mut scales).is_nan());
        }
    }
}
