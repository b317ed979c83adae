//! The decoder on the reference backend: packing, adapters, and what it refuses.

mod tiny;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use scalequest_engine::inference::{Engine, Segment};
use scalequest_engine::model::decoder::Adapter;
use scalequest_engine::model::{Architecture, Decoder, Head};
use scalequest_engine::ops::cpu::PackedType;
use scalequest_engine::ops::{Dtype, TrainingBackend};
use tiny::{config, decoder, ids, parameters, reference_logits};

fn largest(tensor: &Tensor) -> f32 {
    tensor
        .abs()
        .and_then(|x| x.max_all()?.to_scalar())
        .expect("a number")
}

fn adapters(decoder: &Decoder, b_scale: f64) -> (BTreeMap<String, Adapter>, Vec<Var>) {
    let (mut adapters, mut variables) = (BTreeMap::new(), Vec::new());
    for (name, weight) in decoder
        .parameters()
        .iter()
        .filter(|(name, _)| name.ends_with("_proj.weight"))
    {
        let (out, inner) = weight.dims2().expect("a matrix");
        let a = Var::randn(0.0f32, 0.3, (3, inner), &Device::Cpu).expect("a variable");
        let b = Tensor::randn(0.0f32, 0.3, (out, 3), &Device::Cpu)
            .and_then(|b| b * b_scale)
            .expect("a tensor");
        let b = Var::from_tensor(&b).expect("a variable");
        let adapter = Adapter {
            a: a.as_tensor().clone(),
            b: b.as_tensor().clone(),
            scale: 2.0,
        };
        adapters.insert(name.trim_end_matches(".weight").to_owned(), adapter);
        variables.extend([a, b]);
    }
    (adapters, variables)
}

#[test]
fn packed_rows_match_single_sequences() {
    for architecture in Architecture::ALL {
        let decoder = decoder(&config(architecture), 1);
        let (first, second) = ([5, 6, 7, 8, 9], [30, 20, 10]);
        let together = decoder
            .hidden(
                &ids(&[&first[..], &second[..]].concat()),
                &ids(&[0, 1, 2, 3, 4, 0, 1, 2]),
                &ids(&[0, 0, 0, 0, 0, 1, 1, 1]),
            )
            .and_then(|hidden| decoder.logits(&hidden)?.squeeze(0)?.to_vec2::<f32>())
            .expect("logits");
        let alone = [
            reference_logits(&decoder, &first),
            reference_logits(&decoder, &second),
        ]
        .concat();
        for (together, alone) in together.iter().flatten().zip(alone.iter().flatten()) {
            assert!(
                (together - alone).abs() < 1e-4 * (1.0 + alone.abs()),
                "{together} and {alone}"
            );
        }
    }
}

#[test]
fn attention_is_causal() {
    let decoder = decoder(&config(Architecture::Qwen2), 1);
    let before = reference_logits(&decoder, &[1, 2, 3, 4]);
    let changed = reference_logits(&decoder, &[1, 2, 3, 99]);
    assert_eq!(before[..3], changed[..3]);
    assert_ne!(before[3], changed[3]);
}

#[test]
fn sliding_windows_limit_attention() {
    // Two layers of three tokens reach four tokens back.
    let decoder = decoder(&config(Architecture::Mistral), 1);
    let before = reference_logits(&decoder, &[1, 2, 3, 4, 5, 6, 7]);
    let changed = reference_logits(&decoder, &[1, 99, 3, 4, 5, 6, 7]);
    assert_eq!(before[0], changed[0]);
    for place in 1..=5 {
        assert_ne!(before[place], changed[place], "at {place}");
    }
    assert_eq!(before[6], changed[6]);
}

#[test]
fn zero_lora_adapter_changes_nothing() {
    let config = config(Architecture::Llama);
    let plain = decoder(&config, 2);
    let tokens = [3, 1, 4, 1, 5, 9];
    let (zero, _) = adapters(&plain, 0.0);
    let adapted = Decoder::with_adapters(config.clone(), plain.parameters().clone(), zero)
        .expect("a decoder");
    assert_eq!(
        reference_logits(&adapted, &tokens),
        reference_logits(&plain, &tokens)
    );

    let (some, variables) = adapters(&plain, 1.0);
    let adapted =
        Decoder::with_adapters(config, plain.parameters().clone(), some).expect("a decoder");
    let positions: Vec<u32> = (0..6).collect();
    let hidden = adapted
        .hidden(&ids(&tokens), &ids(&positions), &ids(&[0; 6]))
        .expect("hidden states");
    let loss = adapted
        .logits(&hidden)
        .and_then(|logits| logits.sqr()?.mean_all())
        .expect("a loss");
    let gradients = loss.backward().expect("gradients");
    for variable in &variables {
        assert!(largest(gradients.get(variable).expect("a gradient")) > 0.0);
    }
    assert!(
        gradients
            .get(&plain.parameters()["model.norm.weight"])
            .is_none(),
        "the model is frozen"
    );
}

#[test]
fn merged_adapters_match_training() {
    let config = config(Architecture::Qwen2);
    let plain = decoder(&config, 2);
    let (some, _) = adapters(&plain, 1.0);
    let adapted =
        Decoder::with_adapters(config, plain.parameters().clone(), some).expect("a decoder");
    let engine = Engine::from_decoder(&adapted, Dtype::F32).expect("an engine");
    let tokens = [3, 1, 4, 1, 5, 9];
    let hidden = engine.last_hidden(&mut [Segment {
        tokens: &tokens,
        cache: &mut engine.new_cache(),
    }]);
    let (logits, _) = engine.head(&hidden.expect("hidden states"));
    let expected = reference_logits(&adapted, &tokens).pop().expect("a row");
    for (found, expected) in logits.iter().zip(&expected) {
        assert!(
            (found - expected).abs() < 1e-3 * (1.0 + expected.abs()),
            "{found} and {expected}"
        );
    }
}

#[test]
fn setting_a_variable_changes_the_decoder() {
    let config = config(Architecture::Llama);
    let mut tensors = parameters(&config, 2);
    let norm = Var::from_tensor(&tensors["model.norm.weight"]).expect("a variable");
    tensors.insert("model.norm.weight".into(), norm.as_tensor().clone());
    let decoder = Decoder::new(config, tensors).expect("a decoder");
    let before = reference_logits(&decoder, &[1, 2]);
    norm.set(&norm.affine(2.0, 0.0).expect("a tensor"))
        .expect("set");
    let after = reference_logits(&decoder, &[1, 2]);
    assert!((after[1][0] - 2.0 * before[1][0]).abs() < 1e-4);
}

#[test]
fn mismatched_parameters_are_rejected_by_name() {
    let config = config(Architecture::Llama);
    let error = |edit: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
        let mut parameters = parameters(&config, 1);
        edit(&mut parameters);
        Decoder::new(config.clone(), parameters)
            .err()
            .expect("refused")
            .to_string()
    };
    let name = "model.layers.0.mlp.up_proj.weight";
    let missing = error(&|parameters| drop(parameters.remove(name)));
    assert!(
        missing.contains(&format!("parameter `{name}` is missing")),
        "{missing}"
    );
    let wrong = error(&|parameters| {
        let transposed = parameters[name]
            .t()
            .and_then(|t| t.contiguous())
            .expect("a tensor");
        parameters.insert(name.into(), transposed);
    });
    assert!(
        wrong.contains("has shape [36, 50]; expected [50, 36]"),
        "{wrong}"
    );
    let extra = error(&|parameters| {
        drop(parameters.insert("model.extra".into(), parameters[name].clone()))
    });
    assert!(
        extra.contains("parameter `model.extra` is not foreseen"),
        "{extra}"
    );
}

#[test]
fn memory_estimate_grows_with_use() {
    let config = config(Architecture::Qwen2);
    let parameters: usize = config
        .parameter_shapes()
        .values()
        .map(|shape| shape.iter().product::<usize>())
        .sum();
    assert_eq!(config.parameter_count(), parameters as u64);
    assert_eq!(config.weight_bytes(), 4 * parameters as u64);
    for dtype in Dtype::ALL {
        let bytes = |rows, tokens| config.inference_bytes(dtype, rows, tokens);
        assert!(bytes(8, 100) > config.packed_bytes(dtype));
        assert!(bytes(16, 100) > bytes(8, 100) && bytes(8, 200) > bytes(8, 100));
    }
    assert!(
        config.training_bytes(
            TrainingBackend::Fused(PackedType::Bf16),
            config.parameter_count(),
            512,
            2
        ) > 4 * config.weight_bytes()
    );
    assert_eq!(Head::Classes(3).width(300), 3);
}
