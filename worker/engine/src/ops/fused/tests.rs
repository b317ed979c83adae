//! Every fused operation against the reference: its values, and the gradient of each of its inputs.

use candle_core::{Device, Result, Tensor, Var};

use crate::ops::cpu::PackedType;
use crate::ops::reference::segment_mask;
use crate::ops::training_backend::TrainingBackend;

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

/// Multiples of 2^-7 in -1..1, which bf16 holds.
fn short(shape: &[usize], seed: u32) -> Var {
    let random = random(shape, seed).as_tensor().detach();
    let short = ((random * 128.0).unwrap().round().unwrap() / 128.0).unwrap();
    Var::from_tensor(&short).unwrap()
}

/// Compares both backends within `tolerance`, by a loss to which every element of the result counts differently.
#[track_caller]
fn agree(
    inputs: &[Var],
    tolerance: f32,
    operation: impl Fn(TrainingBackend, &[Tensor]) -> Result<Tensor>,
) {
    agree_by(PackedType::F32, inputs, tolerance, operation);
}

#[track_caller]
fn agree_by(
    packed_type: PackedType,
    inputs: &[Var],
    tolerance: f32,
    operation: impl Fn(TrainingBackend, &[Tensor]) -> Result<Tensor>,
) {
    let inputs_as: Vec<Tensor> = inputs
        .iter()
        .map(|input| input.as_tensor().clone())
        .collect();
    let of = |backend: TrainingBackend| {
        let y = operation(backend, &inputs_as).unwrap();
        let weights = short(y.dims(), 77);
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
    let pairs = of(TrainingBackend::Reference)
        .into_iter()
        .zip(of(TrainingBackend::Fused(packed_type)));
    for (place, ((shape, expected), (fused_shape, found))) in pairs.enumerate() {
        assert_eq!(shape, fused_shape);
        for (expected, found) in expected.iter().zip(&found) {
            let error = (expected - found).abs() / (1.0 + expected.abs());
            assert!(error <= tolerance, "{place}: {found}, expected {expected}");
        }
    }
}

#[test]
fn linear_agrees() {
    for (rows, inner, out) in [(1, 3, 5), (70, 33, 48), (9, 600, 17)] {
        let inputs = [
            random(&[2, rows, inner], 1),
            random(&[out, inner], 2),
            random(&[out], 3),
        ];
        agree(&inputs, 1e-4, |backend, inputs| {
            backend.linear(&inputs[0], &inputs[1], Some(&inputs[2]))
        });
    }
}

#[test]
fn linear_agrees_in_bf16() {
    for (rows, inner, out) in [(1, 3, 5), (70, 33, 48), (9, 1100, 17)] {
        let inputs = [
            short(&[2, rows, inner], 1),
            short(&[out, inner], 2),
            random(&[out], 3),
        ];
        agree_by(PackedType::Bf16, &inputs, 1e-4, |backend, inputs| {
            backend.linear(&inputs[0], &inputs[1], Some(&inputs[2]))
        });
    }
}

#[test]
fn norms_agree() {
    for (rows, width) in [(1, 1), (3, 64), (700, 65)] {
        let inputs = [random(&[1, rows, width], 4), random(&[width], 5)];
        agree(&inputs, 1e-4, |backend, inputs| {
            backend.rms_norm(&inputs[0], &inputs[1], 1e-5)
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
    agree(&[large(6), large(7)], 1e-5, |backend, inputs| {
        backend.swiglu(&inputs[0], &inputs[1])
    });
}

#[test]
fn attention_agrees_with_and_without_windows() {
    let segments: Vec<u32> = (0..2 * 19)
        .map(|place| [0, 0, 0, 1, 1, 2][place % 19 / 4])
        .collect();
    let segments = Tensor::from_vec(segments, (2, 19), &Device::Cpu).unwrap();
    for window in [None, Some(3)] {
        let mask = segment_mask(&segments, window).unwrap();
        let inputs = [
            random(&[2, 19, 6 * 8], 10),
            random(&[2, 19, 2 * 8], 11),
            random(&[2, 19, 2 * 8], 12),
        ];
        let angles = random(&[2, 1, 19, 4], 8);
        let cos = angles.cos().unwrap().detach();
        let sin = angles.sin().unwrap().detach();
        // Each of three matmuls in a row rounds its operands by 2^-9 at most.
        for (packed_type, tolerance) in [(PackedType::F32, 1e-5), (PackedType::Bf16, 6.0 / 512.0)] {
            agree_by(packed_type, &inputs, tolerance, |backend, inputs| {
                let [q, k, v] = inputs else { unreachable!() };
                backend.attend([q, k, v], [&cos, &sin], &mask)
            });
        }
    }
}

#[test]
fn log_probabilities_agree() {
    let targets = Tensor::new(&[0u32, 7, 1499, 7], &Device::Cpu).unwrap();
    let (hidden, weight) = (random(&[4, 12], 13), random(&[1500, 12], 14));
    let scaled = Var::from_tensor(&(weight.as_tensor() * 20.0).unwrap().detach()).unwrap();
    agree(&[hidden.clone(), scaled], 1e-4, |backend, inputs| {
        backend.head_log_probabilities(&inputs[0], &inputs[1], &targets)
    });
    let beyond = Tensor::new(&[0u32, 7, 1500, 7], &Device::Cpu).unwrap();
    let error = TrainingBackend::Fused(PackedType::F32)
        .head_log_probabilities(&hidden, &weight, &beyond)
        .unwrap_err();
    assert!(error.to_string().contains("target 1500"), "{error}");
}

#[test]
fn embeddings_agree() {
    let ids = Tensor::new(&[3u32, 0, 3, 4], &Device::Cpu).unwrap();
    let weight = random(&[5, 6], 16);
    agree(std::slice::from_ref(&weight), 1e-6, |backend, inputs| {
        backend.embed(&inputs[0], &ids)
    });
    let beyond = Tensor::new(&[1u32, 5], &Device::Cpu).unwrap();
    let error = TrainingBackend::Fused(PackedType::F32)
        .embed(&weight, &beyond)
        .unwrap_err();
    assert!(error.to_string().contains("token 5"), "{error}");
}

#[test]
fn gradients_of_several_losses_add_up() {
    let (x, weight) = (random(&[4, 8], 17), random(&[9, 8], 18));
    let ids = Tensor::new(&[1u32, 8, 1, 0], &Device::Cpu).unwrap();
    // The weight is read as an embedding and as a map, like that of a tied head.
    let loss = |backend: TrainingBackend, x: &Tensor, scale: f64| {
        let read = backend.embed(weight.as_tensor(), &ids).unwrap();
        let y = backend.linear(&(x + read).unwrap(), weight.as_tensor(), None);
        (y.unwrap().sqr().unwrap().sum_all().unwrap() * scale).unwrap()
    };
    let of = |backend: TrainingBackend| {
        let mut sums = super::Gradients::default();
        for scale in [0.5, 2.0, 1.0] {
            let variables = [x.as_tensor(), weight.as_tensor()];
            sums.add(&loss(backend, x.as_tensor(), scale), variables)
                .unwrap();
        }
        [&x, &weight].map(|variable| {
            let sum = sums.take(variable).expect("a gradient");
            sum.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        })
    };
    let expected = of(TrainingBackend::Reference);
    let found = of(TrainingBackend::Fused(PackedType::F32));
    for (expected, found) in expected.iter().flatten().zip(found.iter().flatten()) {
        let error = (expected - found).abs() / (1.0 + expected.abs());
        assert!(error < 1e-5, "{found}, expected {expected}");
    }
}

#[test]
fn frozen_weight_gets_no_gradient() {
    let (x, weight) = (random(&[4, 8], 14), random(&[6, 8], 15));
    let frozen = weight.as_tensor().detach();
    let y = TrainingBackend::Fused(PackedType::F32)
        .linear(&x, &frozen, None)
        .unwrap();
    let gradients = y.sum_all().unwrap().backward().unwrap();
    assert!(gradients.get(&x).is_some() && gradients.get(&frozen).is_none());
}

#[test]
fn only_in_place_gradients_are_reused() {
    let (x, weight) = (random(&[4, 8], 19), random(&[9, 8], 20));
    let frozen = x.as_tensor().detach();
    let of = |backend: TrainingBackend, sums: &mut super::Gradients| {
        let y = backend.linear(&frozen, weight.as_tensor(), None).unwrap();
        let loss = y.sqr().unwrap().sum_all().unwrap();
        sums.add(&loss, [weight.as_tensor()]).unwrap();
        sums.take(&weight).expect("a gradient")
    };
    for (backend, is_kept) in [
        (TrainingBackend::Fused(PackedType::F32), true),
        (TrainingBackend::Reference, false),
    ] {
        let mut sums = super::Gradients::default();
        let first = of(backend, &mut sums);
        let expected = first.to_vec2::<f32>().unwrap();
        sums.reuse(&weight, first);
        assert_eq!(sums.holds_memory_for(&weight), is_kept, "{backend:?}");
        let again = of(backend, &mut sums).to_vec2::<f32>().unwrap();
        assert_eq!(again, expected, "{backend:?}");
    }
}
