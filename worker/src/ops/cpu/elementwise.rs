//! Operations on rows that are not products: written once in plain Rust over sixteen lanes, compiled for
//! each instruction set. Sums go lane by lane, then over the lanes in order, so that the bits are the same
//! everywhere.

use super::LANES;
use super::exp::exp;
use super::isa::{Isa, isa};

/// Compiles one plain function for every instruction set and dispatches at run time.
macro_rules! for_each_isa {
    ($(#[$doc:meta])* $name:ident, $plain:ident, ($($argument:ident: $kind:ty),*) $(-> $result:ty)?) => {
        $(#[$doc])*
        #[allow(unsafe_code)]
        pub fn $name($($argument: $kind),*) $(-> $result)? {
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
            match isa() {
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
    rms_norm, rms_norm_plain, (x: &[f32], weight: &[f32], eps: f32, out: &mut [f32])
);
for_each_isa!(
    /// `gate = silu(gate) * up` for one row.
    swiglu, swiglu_plain, (gate: &mut [f32], up: &[f32])
);
for_each_isa!(
    /// `x = x + y`.
    add, add_plain, (x: &mut [f32], y: &[f32])
);
for_each_isa!(
    /// The softmax of one row of scores, in place.
    softmax, softmax_plain, (scores: &mut [f32])
);
for_each_isa!(
    /// `ln sum e^x` of one row, in f64.
    log_sum_exp, log_sum_exp_plain, (x: &[f32]) -> f64
);
for_each_isa!(
    /// Rotates one head by its angles and scales it: feature `j` with feature `j + len / 2`.
    rotate, rotate_plain, (x: &[f32], angles: &[(f32, f32)], scale: f32, out: &mut [f32])
);

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
fn log_sum_exp_plain(x: &[f32]) -> f64 {
    let largest = largest(x);
    let mut total = 0.0f64;
    // A row of logits is long: partial sums in f32 over short stretches lose nothing that f32 holds.
    for stretch in x.chunks(1024) {
        total += f64::from(sum_of(|index| exp(stretch[index] - largest), stretch.len()));
    }
    f64::from(largest) + total.ln()
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
