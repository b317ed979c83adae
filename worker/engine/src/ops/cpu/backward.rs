//! Gradients of operations on rows, written once in plain Rust over sixteen lanes like the operations themselves, so that
//! their bits are the same everywhere too.

use super::elementwise::sum_of;
use super::exp::exp;
use super::isa::{Isa, for_each_isa, isa};

for_each_isa!(
    /// The gradient of `rms_norm` of one row: that of `x` into `dx`, that of the weight added to `dw`.
    rms_norm_backward, rms_norm_backward_on, rms_norm_backward_plain,
    (x: &[f32], weight: &[f32], eps: f32, grad: &[f32], dx: &mut [f32], dw: &mut [f32])
);
for_each_isa!(
    /// The gradient of `silu(gate) * up`.
    swiglu_backward, swiglu_backward_on, swiglu_backward_plain,
    (gate: &[f32], up: &[f32], grad: &[f32], dgate: &mut [f32], dup: &mut [f32])
);
for_each_isa!(
    /// The gradient of the softmax of one row, from its result.
    softmax_backward, softmax_backward_on, softmax_backward_plain,
    (weights: &[f32], grad: &[f32], dscores: &mut [f32])
);
for_each_isa!(
    /// `x = e^(x - shift) * scale`.
    scale_exponentials, scale_exponentials_on, scale_exponentials_plain,
    (x: &mut [f32], shift: f32, scale: f32)
);

#[inline(always)]
fn rms_norm_backward_plain(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    grad: &[f32],
    dx: &mut [f32],
    dw: &mut [f32],
) {
    let length = x.len();
    let (weight, grad) = (&weight[..length], &grad[..length]);
    let (dx, dw) = (&mut dx[..length], &mut dw[..length]);
    let mean = sum_of(|index| x[index] * x[index], length) / length as f32;
    let scale = 1.0 / (mean + eps).sqrt();
    let dot = sum_of(|index| grad[index] * weight[index] * x[index], length);
    let along = dot * scale * scale * scale / length as f32;
    for index in 0..length {
        dx[index] = grad[index] * weight[index] * scale - x[index] * along;
        dw[index] += grad[index] * x[index] * scale;
    }
}

#[inline(always)]
fn swiglu_backward_plain(
    gate: &[f32],
    up: &[f32],
    grad: &[f32],
    dgate: &mut [f32],
    dup: &mut [f32],
) {
    let length = gate.len();
    let (up, grad) = (&up[..length], &grad[..length]);
    let (dgate, dup) = (&mut dgate[..length], &mut dup[..length]);
    for index in 0..length {
        let sigmoid = 1.0 / (1.0 + exp(-gate[index]));
        let silu = gate[index] * sigmoid;
        dup[index] = grad[index] * silu;
        dgate[index] = grad[index] * up[index] * (sigmoid + silu * (1.0 - sigmoid));
    }
}

#[inline(always)]
fn softmax_backward_plain(weights: &[f32], grad: &[f32], dscores: &mut [f32]) {
    let length = weights.len();
    let (grad, dscores) = (&grad[..length], &mut dscores[..length]);
    let mean = sum_of(|index| weights[index] * grad[index], length);
    for index in 0..length {
        dscores[index] = weights[index] * (grad[index] - mean);
    }
}

#[inline(always)]
fn scale_exponentials_plain(x: &mut [f32], shift: f32, scale: f32) {
    for x in x {
        *x = exp(*x - shift) * scale;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn instruction_sets_agree_bit_for_bit(
            rows in prop::collection::vec((-20.0f32..20.0, -2.0f32..2.0, -1.0f32..1.0), 1..200),
        ) {
            let x: Vec<f32> = rows.iter().map(|row| row.0).collect();
            let y: Vec<f32> = rows.iter().map(|row| row.1).collect();
            let grad: Vec<f32> = rows.iter().map(|row| row.2).collect();
            let all = |isa: Isa| {
                let mut out = vec![vec![0.5f32; x.len()]; 6];
                let [a, b, c, d, e, f] = &mut out[..] else { unreachable!() };
                rms_norm_backward_on(isa, &x, &y, 1e-5, &grad, a, b);
                swiglu_backward_on(isa, &x, &y, &grad, c, d);
                softmax_backward_on(isa, &y, &grad, e);
                f.copy_from_slice(&x);
                scale_exponentials_on(isa, f, 20.0, 0.1);
                let bits = out.iter().flatten().map(|value| value.to_bits());
                bits.collect::<Vec<_>>()
            };
            for isa in Isa::available() {
                prop_assert_eq!(all(isa), all(Isa::Portable), "{}", isa.name());
            }
        }
    }
}
