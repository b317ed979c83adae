//! Every fused operation against the reference: its values, and the gradient of each of its inputs.

use candle_core::{Device, Result, Tensor, Var};

use crate::ops::differentiable::Differentiable;
use crate::ops::reference::segment_mask;

fn random(shape: &[usize], seed: u32) -> Var {
    let mut state = seed;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
}

/// Compares both bodies within `tolerance`, by a loss to which every element of the result counts differently.
#[track_caller]
fn agree(
    inputs: &[Var],
    tolerance: f32,
    operation: impl Fn(Differentiable, &[Tensor]) -> Result<Tensor>,
) {
    let inputs_as: Vec<Tensor> = inputs
        .iter()
        .map(|input| input.as_tensor().clone())
        .collect();
    let of = |body: Differentiable| {
        let y = operation(body, &inputs_as).unwrap();
        let weights = random(y.dims(), 77);
        let loss = (&y * weights.as_tensor()).unwrap().sum_all().unwrap();
        let gradients = loss.backward().unwrap();
        let mut all = vec![y.detach()];
        all.extend(
            inputs
                .iter()
                .map(|input| gradients.get(input).expect("a gradient").clone()),
        );
        all.into_iter()
            .map(|tensor| {
                (
                    tensor.dims().to_vec(),
                    tensor.flatten_all().unwrap().to_vec1().unwrap(),
                )
            })
            .collect::<Vec<(Vec<usize>, Vec<f32>)>>()
    };
    let pairs = of(Differentiable::Reference)
        .into_iter()
        .zip(of(Differentiable::Fused));
    for (place, ((shape, expected), (fused_shape, found))) in pairs.enumerate() {
        assert_eq!(shape, fused_shape);
        for (expected, found) in expected.iter().zip(&found) {
            let error = (expected - found).abs() / (1.0 + expected.abs());
            assert!(error <= tolerance, "{place}: {found}, expected {expected}");
        }
    }
}

#[test]
fn linear_maps_agree() {
    for (rows, inner, out) in [(1, 3, 5), (70, 33, 48), (9, 600, 17)] {
        let inputs = [
            random(&[2, rows, inner], 1),
            random(&[out, inner], 2),
            random(&[out], 3),
        ];
        agree(&inputs, 1e-4, |body, inputs| {
            body.linear(&inputs[0], &inputs[1], Some(&inputs[2]))
        });
    }
}

#[test]
fn norms_agree() {
    for (rows, width) in [(1, 1), (3, 64), (700, 65)] {
        let inputs = [random(&[1, rows, width], 4), random(&[width], 5)];
        agree(&inputs, 1e-4, |body, inputs| {
            body.rms_norm(&inputs[0], &inputs[1], 1e-5)
        });
    }
}

#[test]
fn gated_activations_agree() {
    let large = |seed| {
        let var = random(&[3, 50, 41], seed);
        let scaled = (var.as_tensor() * 30.0).unwrap().detach();
        Var::from_tensor(&scaled).unwrap()
    };
    agree(&[large(6), large(7)], 1e-5, |body, inputs| {
        body.swiglu(&inputs[0], &inputs[1])
    });
}

#[test]
fn rotations_agree() {
    let angles = random(&[2, 1, 13, 4], 8);
    let (cos, sin) = (
        angles.cos().unwrap().detach(),
        angles.sin().unwrap().detach(),
    );
    agree(&[random(&[2, 3, 13, 8], 9)], 1e-6, |body, inputs| {
        body.rope(&inputs[0], &cos, &sin)
    });
}

#[test]
fn attention_agrees_over_packed_sequences_with_windows_and_without() {
    let segments: Vec<u32> = (0..2 * 19)
        .map(|place| [0, 0, 0, 1, 1, 2][place % 19 / 4])
        .collect();
    let segments = Tensor::from_vec(segments, (2, 19), &Device::Cpu).unwrap();
    for window in [None, Some(3)] {
        let mask = segment_mask(&segments, window).unwrap();
        let inputs = [
            random(&[2, 6, 19, 8], 10),
            random(&[2, 2, 19, 8], 11),
            random(&[2, 2, 19, 8], 12),
        ];
        agree(&inputs, 1e-5, |body, inputs| {
            body.attention(&inputs[0], &inputs[1], &inputs[2], &mask)
        });
    }
}

#[test]
fn log_probabilities_agree_and_a_target_beyond_the_vocabulary_is_refused() {
    let targets = Tensor::new(&[0u32, 7, 1499, 7], &Device::Cpu).unwrap();
    let logits = random(&[4, 1500], 13);
    let scaled = Var::from_tensor(&(logits.as_tensor() * 20.0).unwrap().detach()).unwrap();
    agree(&[scaled], 1e-5, |body, inputs| {
        body.token_log_probabilities(&inputs[0], &targets)
    });
    let beyond = Tensor::new(&[0u32, 7, 1500, 7], &Device::Cpu).unwrap();
    let error = Differentiable::Fused
        .token_log_probabilities(&logits, &beyond)
        .unwrap_err();
    assert!(error.to_string().contains("target 1500"), "{error}");
}

#[test]
fn a_frozen_weight_gets_no_gradient() {
    let (x, weight) = (random(&[4, 8], 14), random(&[6, 8], 15));
    let frozen = weight.as_tensor().detach();
    let y = Differentiable::Fused.linear(&x, &frozen, None).unwrap();
    let gradients = y.sum_all().unwrap().backward().unwrap();
    assert!(gradients.get(&x).is_some() && gradients.get(&frozen).is_none());
}
