//! Operations on rows that are not products: written once in plain Rust over sixteen lanes, compiled for
//! each instruction set. Sums go lane by lane, then over the lanes in order, so that the bits are the same
//! everywhere.

use super::LANES;
use super::exp::exp;
use super::isa::{Isa, isa};

/// Compiles one plain function for every instruction set and dispatches at run time.
macro_rules! for_each_isa {
    ($(#[$doc:meta])* $name:ident, $on:ident, $plain:ident, ($($argument:ident: $kind:ty),*) $(-> $result:ty)?) => {
        $(#[$doc])*
        pub fn $name($($argument: $kind),*) $(-> $result)? {
            $on(isa(), $($argument),*)
        }

        #[allow(unsafe_code)]
        fn $on(isa: Isa, $($argument: $kind),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f")]
            fn avx512($($argument: $kind),*) $(-> $result)? {
                $plain($($argument),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($argument: $kind),*) $(-> $result)? {
                $plain($($argument),*)
            }
            match isa {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the instruction set was detected when it was chosen.
                Isa::Avx512 => unsafe { avx512($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                Isa::Avx2 => unsafe { avx2($($argument),*) },
                _ => $plain($($argument),*),
            }
        }
    };
}

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

/// `ln sum e^x` of one row, in f64. The logarithm is the platform's: for losses and tests, not for datasets.
pub fn log_sum_exp(x: &[f32]) -> f64 {
    let (largest, sum) = sum_of_exponentials(x);
    f64::from(largest) + sum.ln()
}

#[inline(always)]
fn sum_of(mut term: impl FnMut(usize) -> f32, length: usize) -> f32 {
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
fn largest(x: &[f32]) -> f32 {
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
    let largest = largest(scores);
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
    let largest = largest(x);
    let mut total = 0.0f64;
    // A row of logits is long: partial sums in f32 over short stretches lose nothing that f32 holds.
    for stretch in x.chunks(1024) {
        total += f64::from(sum_of(|index| exp(stretch[index] - largest), stretch.len()));
    }
    (largest, total)
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
        fn every_instruction_set_gives_the_same_bits(
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
                let rows: Vec<Vec<u32>> =
                    [&normed, &gated, &added, &softened, &rotated].into_iter().map(|row| bits(row)).collect();
                (rows, largest.to_bits(), sum.to_bits())
            };
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                prop_assert_eq!(all(isa), all(Isa::Portable), "{}", isa.name());
            }
        }

        #[test]
        fn a_softmax_adds_up_to_one(mut x in prop::collection::vec(-80.0f32..80.0, 1..400)) {
            softmax(&mut x);
            prop_assert!((x.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }
}
