//! Tiny random models for tests.
#![allow(dead_code)]

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use scalequest_engine::model::config::SlidingWindow;
use scalequest_engine::model::{Architecture, Decoder, Head, ModelConfig};

/// A small shape, awkward where kernels like round numbers: widths that are no multiple of sixteen. Mistral's has a short window.
pub fn config(architecture: Architecture) -> ModelConfig {
    ModelConfig {
        architecture,
        head: Head::LanguageModel,
        vocab_size: 300,
        hidden_size: 36,
        intermediate_size: 50,
        num_hidden_layers: 2,
        num_attention_heads: 6,
        num_key_value_heads: 2,
        head_dim: 10,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        rope_scaling: None,
        max_position_embeddings: 512,
        tie_word_embeddings: architecture == Architecture::Qwen2,
        qkv_bias: matches!(architecture, Architecture::Qwen2 | Architecture::InternLm2),
        output_bias: architecture == Architecture::InternLm2,
        sliding_window: match architecture {
            Architecture::Mistral => SlidingWindow::in_layers(3, 0..2),
            _ => None,
        },
        reward_token: None,
    }
}

/// Numbers in [-1, 1), the same for the same seed.
pub fn numbers(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

pub fn parameters(config: &ModelConfig, seed: u64) -> BTreeMap<String, Tensor> {
    let mut random = numbers(seed);
    let mut tensor = |(name, shape): (String, Vec<usize>)| {
        let count = shape.iter().product();
        let (middle, spread) = if name.contains("norm") {
            (1.0, 0.2)
        } else {
            (0.0, 0.4)
        };
        let values: Vec<f32> = (0..count).map(|_| middle + spread * random()).collect();
        (
            name,
            Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor"),
        )
    };
    config
        .parameter_shapes()
        .into_iter()
        .map(&mut tensor)
        .collect()
}

pub fn decoder(config: &ModelConfig, seed: u64) -> Decoder {
    Decoder::new(config.clone(), parameters(config, seed)).expect("a decoder")
}

pub fn ids(tokens: &[u32]) -> Tensor {
    Tensor::new(tokens, &Device::Cpu)
        .and_then(|ids| ids.unsqueeze(0))
        .expect("ids")
}

/// The reference's logits for every token of one sequence, row by row.
pub fn reference_logits(decoder: &Decoder, tokens: &[u32]) -> Vec<Vec<f32>> {
    let positions: Vec<u32> = (0..tokens.len() as u32).collect();
    let segments = vec![0; tokens.len()];
    let hidden = decoder
        .hidden(&ids(tokens), &ids(&positions), &ids(&segments))
        .expect("hidden states");
    decoder
        .logits(&hidden)
        .and_then(|logits| logits.squeeze(0)?.to_vec2())
        .expect("logits")
}
