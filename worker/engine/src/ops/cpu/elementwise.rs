//! Operations on rows other than GEMM: written once in plain Rust over sixteen lanes, compiled for
//! each instruction set. Sums go lane by lane, then over the lanes in order, so that the bits are the same
//! everywhere.

use super::LANES;
use super::exp::exp;
use super::isa::{Isa, for_each_isa, isa};
use super::kernel::int8::{BIAS, BLOCK};

for_each_isa!(
    /// `out = x / sqrt(mean(x^2) + eps) * weight` for one row.
    rms_norm, rms_norm_on, rms_norm_plain, (x: &[f32], weight: &[f32], eps: f32, out: &mut [f32])
);
for_each_isa!(
    /// `gate = silu(gate) * up` for one row.
    swiglu, swiglu_on, swiglu_plain, (gate: &mut [f32], up: &[f32])
);
for_each_isa!(
    /// `x = x + y`.
    add, add_on, add_plain, (x: &mut [f32], y: &[f32])
);
for_each_isa!(
    /// The softmax of one row of scores, in place.
    softmax, softmax_on, softmax_plain, (scores: &mut [f32])
);
for_each_isa!(
    /// `e^x` of every element.
    exp_in_place, exp_in_place_on, exp_in_place_plain, (x: &mut [f32])
);
for_each_isa!(
    /// The largest element, and the sum of `e^(x - largest)` in f64.
    sum_of_exponentials, sum_of_exponentials_on, sum_of_exponentials_plain, (x: &[f32]) -> (f32, f64)
);
for_each_isa!(
    /// Rotates one head by its angles and scales it: feature `j` with feature `j + len / 2`.
    rotate, rotate_on, rotate_plain, (x: &[f32], angles: &[(f32, f32)], scale: f32, out: &mut [f32])
);
for_each_isa!(
    /// One row as 8-bit integers in blocks: words of four numbers, each block's scale, and the block's sum times
    /// minus the weights' bias. Numbers beyond the row's end are zero.
    quantise, quantise_on, quantise_plain, (x: &[f32], words: &mut [u32], scales: &mut [f32], offsets: &mut [i32])
);
for_each_isa!(
    /// The weights `e^((logit - largest) * scale)` of some logits, as multiples of 2^-35, whose sums in f64 are
    /// exact (see `inference::sample`); their sum, and the largest.
    sampling_weights, sampling_weights_on, sampling_weights_plain,
    (logits: &[f32], largest: f32, scale: f32, weights: &mut [f32]) -> (f64, f32)
);
for_each_isa!(
    /// Makes every weight below `floor` zero; the sum of the others.
    keep_at_least, keep_at_least_on, keep_at_least_plain, (weights: &mut [f32], floor: f32) -> f64
);
for_each_isa!(
    /// The largest element; `None` where one is not finite, or there is none.
    largest_finite, largest_finite_on, largest_finite_plain, (x: &[f32]) -> Option<f32>
);
for_each_isa!(
    /// The largest magnitude; not a number where an element is not finite.
    largest_magnitude, largest_magnitude_on, largest_magnitude_plain, (x: &[f32]) -> f32
);

/// `ln sum e^x` of one row, in f64. The logarithm is the platform's: for losses and tests, not for datasets.
pub fn log_sum_exp(x: &[f32]) -> f64 {
    let (largest, sum) = sum_of_exponentials(x);
    f64::from(largest) + sum.ln()
}

/// The sum of `length` terms: lane by lane, then over the lanes in order.
#[inline(always)]
pub(super) fn sum_of(mut term: impl FnMut(usize) -> f32, length: usize) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let whole = length / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
    }
    for index in whole..length {
        lanes[index - whole] += term(index);
    }
    let mut total = 0.0;
    for lane in lanes {
        total += lane;
    }
    total
}

#[inline(always)]
fn rms_norm_plain(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let length = x.len();
    let (weight, out) = (&weight[..length], &mut out[..length]);
    let mean = sum_of(|index| x[index] * x[index], length) / length as f32;
    let scale = 1.0 / (mean + eps).sqrt();
    for index in 0..length {
        out[index] = x[index] * scale * weight[index];
    }
}

#[inline(always)]
fn swiglu_plain(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exp(-*gate)) * up;
    }
}

#[inline(always)]
fn add_plain(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

#[inline(always)]
fn largest_of(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    lanes
        .iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |largest, value| largest.max(*value))
}

#[inline(always)]
fn softmax_plain(scores: &mut [f32]) {
    let largest = largest_of(scores);
    for score in scores.iter_mut() {
        *score = exp(*score - largest);
    }
    let scale = 1.0 / sum_of(|index| scores[index], scores.len());
    for score in scores.iter_mut() {
        *score *= scale;
    }
}

#[inline(always)]
fn exp_in_place_plain(x: &mut [f32]) {
    for x in x.iter_mut() {
        *x = exp(*x);
    }
}

#[inline(always)]
fn sum_of_exponentials_plain(x: &[f32]) -> (f32, f64) {
    let largest = largest_of(x);
    let mut total = 0.0f64;
    // A row of logits is long: partial sums in f32 over short stretches lose nothing that f32 holds.
    for stretch in x.chunks(1024) {
        total += f64::from(sum_of(|index| exp(stretch[index] - largest), stretch.len()));
    }
    (largest, total)
}

#[inline(always)]
fn quantise_plain(x: &[f32], words: &mut [u32], scales: &mut [f32], offsets: &mut [i32]) {
    // Adding and subtracting this rounds to an integer, ties to even, and leaves it in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let blocks = words.as_chunks_mut::<{ BLOCK / 4 }>().0.iter_mut();
    for (index, (words, (scale, offset))) in blocks.zip(scales.iter_mut().zip(offsets)).enumerate()
    {
        let mut block = [0.0f32; BLOCK];
        let own = &x[index * BLOCK..x.len().min((index + 1) * BLOCK)];
        block[..own.len()].copy_from_slice(own);
        let mut largest = 0.0f32;
        for x in block {
            largest = if x.abs() > largest { x.abs() } else { largest };
        }
        // Not a number goes on as such, by the scale; what is tiny is zero.
        let finite = block.iter().map(|x| x * 0.0).sum::<f32>();
        let inverse = if largest > 1e-30 {
            127.0 / largest
        } else {
            0.0
        };
        *scale = largest / 127.0 + finite;
        let mut bytes = [0u8; BLOCK];
        let mut sum = 0i32;
        for (byte, x) in bytes.iter_mut().zip(block) {
            let number = (x * inverse + ROUND).to_bits() as u8;
            sum += i32::from(number.cast_signed());
            *byte = number;
        }
        *offset = -BIAS * sum;
        for (word, four) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*four);
        }
    }
}

#[inline(always)]
fn sampling_weights_plain(
    logits: &[f32],
    largest: f32,
    scale: f32,
    weights: &mut [f32],
) -> (f64, f32) {
    // From here to twice this the last place is worth 2^-35; what is larger is a multiple of that already.
    const ROUND: f32 = 1.0 / 4096.0;
    for (weight, logit) in weights.iter_mut().zip(logits) {
        let exact = exp((logit - largest) * scale);
        let rounded = (exact + ROUND) - ROUND;
        *weight = if exact < ROUND { rounded } else { exact };
    }
    (exact_sum(weights), largest_of(weights))
}

/// The sum in f64, over terms whose sums are exact.
#[inline(always)]
fn exact_sum(x: &[f32]) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for chunk in whole {
        for (sum, x) in lanes.iter_mut().zip(chunk) {
            *sum += f64::from(*x);
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|x| f64::from(*x)).sum::<f64>()
}

#[inline(always)]
fn keep_at_least_plain(weights: &mut [f32], floor: f32) -> f64 {
    for weight in weights.iter_mut() {
        *weight = if *weight >= floor { *weight } else { 0.0 };
    }
    exact_sum(weights)
}

#[inline(always)]
fn largest_finite_plain(x: &[f32]) -> Option<f32> {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    // A product with zero is zero, unless one factor is not finite.
    let mut zeros = [0.0f32; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for chunk in whole {
        for ((largest, zero), x) in lanes.iter_mut().zip(&mut zeros).zip(chunk) {
            *largest = if *x > *largest { *x } else { *largest };
            *zero += *x * 0.0;
        }
    }
    let all_finite = zeros.iter().all(|zero| *zero == 0.0) && rest.iter().all(|x| x.is_finite());
    let largest = lanes
        .iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    (all_finite && !x.is_empty()).then_some(largest)
}

#[inline(always)]
fn largest_magnitude_plain(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    // A product with zero is zero, unless one factor is not finite.
    let mut zeros = [0.0f32; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for chunk in whole {
        for ((largest, zero), x) in lanes.iter_mut().zip(&mut zeros).zip(chunk) {
            *largest = if x.abs() > *largest {
                x.abs()
            } else {
                *largest
            };
            *zero += *x * 0.0;
        }
    }
    let zero = zeros.iter().sum::<f32>() + rest.iter().map(|x| x * 0.0).sum::<f32>();
    let rest = rest.iter().map(|x| x.abs());
    lanes.into_iter().chain(rest).fold(0.0, f32::max) + zero
}

#[inline(always)]
fn rotate_plain(x: &[f32], angles: &[(f32, f32)], scale: f32, out: &mut [f32]) {
    let half = angles.len();
    let (first, second) = x.split_at(half);
    let (out_first, out_second) = out.split_at_mut(half);
    for index in 0..half {
        let (cos, sin) = angles[index];
        out_first[index] = (first[index] * cos - second[index] * sin) * scale;
        out_second[index] = (first[index] * sin + second[index] * cos) * scale;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    proptest! {
        #[test]
        fn instruction_sets_agree_bit_for_bit(
            rows in prop::collection::vec((-20.0f32..20.0, -2.0f32..2.0), 2..200),
        ) {
            let (x, y): (Vec<f32>, Vec<f32>) = rows.into_iter().unzip();
            let all = |isa: Isa| {
                let mut normed = x.clone();
                rms_norm_on(isa, &x, &y, 1e-6, &mut normed);
                let (mut gated, mut added, mut softened) = (x.clone(), x.clone(), x.clone());
                swiglu_on(isa, &mut gated, &y);
                add_on(isa, &mut added, &y);
                softmax_on(isa, &mut softened);
                let angles: Vec<(f32, f32)> = y[..y.len() / 2].iter().map(|y| (*y, 1.0 - y)).collect();
                let mut rotated = vec![0.0; 2 * angles.len()];
                rotate_on(isa, &x[..2 * angles.len()], &angles, 0.125, &mut rotated);
                let (largest, sum) = sum_of_exponentials_on(isa, &x);
                let mut weights = x.clone();
                let (total, most) = sampling_weights_on(isa, &x, largest, 0.7, &mut weights);
                let blocks = x.len().div_ceil(BLOCK);
                let (mut words, mut scales) = (vec![0; blocks * BLOCK / 4], vec![0.0; blocks]);
                let mut offsets = vec![0; blocks];
                quantise_on(isa, &x, &mut words, &mut scales, &mut offsets);
                let rows: Vec<Vec<u32>> = [&normed, &gated, &added, &softened, &rotated, &weights, &scales]
                    .into_iter().map(|row| bits(row)).chain([words]).collect();
                let kept = keep_at_least_on(isa, &mut weights, 0.3);
                let sums = [sum, total, f64::from(most), kept].map(f64::to_bits);
                let largest = (largest.to_bits(), largest_finite_on(isa, &x).map(f32::to_bits));
                let magnitude = largest_magnitude_on(isa, &x).to_bits();
                (rows, offsets, largest, magnitude, sums)
            };
            for isa in Isa::available() {
                prop_assert_eq!(all(isa), all(Isa::Portable), "{}", isa.name());
            }
        }

        #[test]
        fn quantises_within_half_a_step(
            x in prop::collection::vec(-50.0f32..50.0, 1..90),
        ) {
            let blocks = x.len().div_ceil(BLOCK);
            let (mut words, mut scales) = (vec![0; blocks * BLOCK / 4], vec![0.0; blocks]);
            let mut offsets = vec![0; blocks];
            quantise(&x, &mut words, &mut scales, &mut offsets);
            let numbers: Vec<i8> =
                words.iter().flat_map(|word| word.to_le_bytes()).map(u8::cast_signed).collect();
            for (index, number) in numbers.iter().enumerate() {
                let x = x.get(index).copied().unwrap_or_default();
                let scale = scales[index / BLOCK];
                prop_assert!(*number >= -127 && (f32::from(*number) * scale - x).abs() <= 0.501 * scale);
            }
            for (block, offset) in numbers.chunks_exact(BLOCK).zip(offsets) {
                prop_assert_eq!(offset, -BIAS * block.iter().map(|number| i32::from(*number)).sum::<i32>());
            }
        }

        #[test]
        fn softmax_adds_up_to_one(mut x in prop::collection::vec(-80.0f32..80.0, 1..400)) {
            softmax(&mut x);
            prop_assert!((x.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }
}
