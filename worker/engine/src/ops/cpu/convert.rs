//! Conversion of numbers for packing: to bits or rounded to pairs of bf16, along a row or interleaved with the next row, and transposition. Written once in plain Rust, as `elementwise`.

use super::LANES;
use super::bf16::bf16_bits;
use super::isa::{Isa, for_each_isa, isa};

for_each_isa!(
    /// The bits of every number.
    copy_bits, copy_bits_on, copy_bits_plain, (x: &[f32], bits: &mut [u32])
);
for_each_isa!(
    /// Pairs of numbers rounded to bf16, the earlier one in the lower half; an odd last one beside a zero.
    round_pairs, round_pairs_on, round_pairs_plain, (x: &[f32], pairs: &mut [u32])
);
for_each_isa!(
    /// Numbers of two rows rounded to bf16 and interleaved, the first row's in the lower half.
    round_interleaved, round_interleaved_on, round_interleaved_plain, (first: &[f32], second: &[f32], pairs: &mut [u32])
);
for_each_isa!(
    /// Transposes a square.
    transpose, transpose_on, transpose_plain, (square: &mut [[u32; LANES]; LANES])
);

#[inline(always)]
fn copy_bits_plain(x: &[f32], bits: &mut [u32]) {
    for (x, bits) in x.iter().zip(bits) {
        *bits = x.to_bits();
    }
}

#[inline(always)]
fn round_pairs_plain(x: &[f32], pairs: &mut [u32]) {
    let (whole, rest) = x.as_chunks::<2>();
    for (pair, [first, second]) in pairs.iter_mut().zip(whole) {
        *pair = bf16_bits(*first) | bf16_bits(*second) << 16;
    }
    if let [last] = rest {
        pairs[whole.len()] = bf16_bits(*last);
    }
}

#[inline(always)]
fn round_interleaved_plain(first: &[f32], second: &[f32], pairs: &mut [u32]) {
    for (pair, (first, second)) in pairs.iter_mut().zip(first.iter().zip(second)) {
        *pair = bf16_bits(*first) | bf16_bits(*second) << 16;
    }
}

/// Swaps the two off-diagonal quarters of every square of twice `STEP`: by four such steps columns become rows (Eklundh, 1972). Each is
/// one shuffle of two registers for every row.
#[inline(always)]
fn swap_quarters<const STEP: usize>(square: &mut [[u32; LANES]; LANES]) {
    for row in (0..LANES).filter(|row| row & STEP == 0) {
        let (upper, lower) = (square[row], square[row + STEP]);
        for lane in 0..LANES {
            let (own, other) = (lane & STEP == 0, lane ^ STEP);
            square[row][lane] = if own { upper[lane] } else { lower[other] };
            square[row + STEP][lane] = if own { upper[other] } else { lower[lane] };
        }
    }
}

#[inline(always)]
fn transpose_plain(square: &mut [[u32; LANES]; LANES]) {
    swap_quarters::<1>(square);
    swap_quarters::<2>(square);
    swap_quarters::<4>(square);
    swap_quarters::<8>(square);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn instruction_sets_pack_the_same_bits(
            rows in prop::collection::vec((-20.0f32..20.0, -2.0f32..2.0), 2..200),
        ) {
            let (x, y): (Vec<f32>, Vec<f32>) = rows.into_iter().unzip();
            let all = |isa: Isa| {
                let mut bits = vec![0; x.len()];
                copy_bits_on(isa, &x, &mut bits);
                let mut pairs = vec![0; x.len().div_ceil(2)];
                round_pairs_on(isa, &x, &mut pairs);
                let mut beside = vec![0; x.len()];
                round_interleaved_on(isa, &x, &y, &mut beside);
                [bits, pairs, beside]
            };
            for isa in Isa::available() {
                prop_assert_eq!(all(isa), all(Isa::Portable), "{}", isa.name());
            }
        }

        #[test]
        fn instruction_sets_transpose(seed: u32) {
            let number = |place: usize| (place as u32).wrapping_mul(2_654_435_761).wrapping_add(seed);
            let square: [[u32; LANES]; LANES] =
                std::array::from_fn(|row| std::array::from_fn(|lane| number(row * LANES + lane)));
            for isa in Isa::available() {
                let mut across = square;
                transpose_on(isa, &mut across);
                for (row, numbers) in across.iter().enumerate() {
                    let column = square.map(|numbers| numbers[row]);
                    prop_assert_eq!(numbers, &column, "{}", isa.name());
                }
            }
        }
    }
}
