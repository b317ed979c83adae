//! GGUF: the same model as the checkpoint it was made of, or refused with a reason.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use scalequest_engine::model::{Architecture, Checkpoint, Decoder, ModelConfig};
use tempfile::TempDir;

use crate::edits::refusal;
use crate::tiny;

/// The tensors as llama.cpp's converter writes them: its names, and llama's rotary pairs side by side.
fn to_gguf(config: &ModelConfig, parameters: &BTreeMap<String, Tensor>) -> Vec<(String, Tensor)> {
    let interleave = |tensor: &Tensor, heads: usize| {
        let width = tensor.elem_count() / (heads * config.head_dim);
        tensor
            .reshape((heads, 2, config.head_dim / 2, width))
            .and_then(|x| x.transpose(1, 2)?.contiguous()?.reshape(tensor.shape()))
            .expect("a tensor")
    };
    let rename = |(key, tensor): (&String, &Tensor)| {
        let llama = config.architecture != Architecture::Qwen2;
        let tensor = match key.as_str() {
            key if llama && key.contains("q_proj") => {
                interleave(tensor, config.num_attention_heads)
            }
            key if llama && key.contains("k_proj") => {
                interleave(tensor, config.num_key_value_heads)
            }
            _ => tensor.clone(),
        };
        let mut name = key
            .replace("model.embed_tokens", "token_embd")
            .replace("model.layers.", "blk.");
        for (from, to) in [
            ("model.norm", "output_norm"),
            ("lm_head", "output"),
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "ffn_norm"),
            ("self_attn.o_proj", "attn_output"),
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
        ] {
            name = name.replace(from, to);
        }
        (name, tensor)
    };
    parameters.iter().map(rename).collect()
}

fn metadata(config: &ModelConfig, pre: &str) -> Vec<(String, gguf_file::Value)> {
    use gguf_file::Value as V;
    // The format has no name for Mistral.
    let prefix = match config.architecture {
        Architecture::Mistral => "llama",
        other => other.model_type(),
    };
    let count = |n: usize| V::U32(n as u32);
    let letters: Vec<V> = ('!'..='~')
        .map(|letter| V::String(letter.to_string()))
        .collect();
    let window = config
        .sliding_window
        .as_ref()
        .map(|window| ("attention.sliding_window", count(window.tokens)));
    let mut tokens = vec![V::String("<|im_end|>".into())];
    tokens.extend(letters);
    tokens.push(V::String("ab".into()));
    let mut types = vec![V::I32(1); tokens.len()];
    types[0] = V::I32(3);
    let mut metadata: Vec<(String, V)> = [
        ("block_count", count(config.num_hidden_layers)),
        ("context_length", count(config.max_position_embeddings)),
        ("embedding_length", count(config.hidden_size)),
        ("feed_forward_length", count(config.intermediate_size)),
        ("attention.head_count", count(config.num_attention_heads)),
        ("attention.head_count_kv", count(config.num_key_value_heads)),
        ("attention.key_length", count(config.head_dim)),
        (
            "attention.layer_norm_rms_epsilon",
            V::F32(config.rms_norm_eps as f32),
        ),
        ("rope.freq_base", V::F32(config.rope_theta as f32)),
    ]
    .into_iter()
    .chain(window)
    .map(|(field, value)| (format!("{prefix}.{field}"), value))
    .collect();
    metadata.push(("general.architecture".into(), V::String(prefix.into())));
    for (field, value) in [
        ("model", V::String("gpt2".into())),
        ("pre", V::String(pre.into())),
        ("tokens", V::Array(tokens)),
        ("token_type", V::Array(types)),
        ("merges", V::Array(vec![V::String("a b".into())])),
        ("eos_token_id", V::U32(0)),
    ] {
        metadata.push((format!("tokenizer.ggml.{field}"), value));
    }
    metadata
}

fn write_gguf(path: &Path, metadata: &[(String, gguf_file::Value)], tensors: &[(String, Tensor)]) {
    let quantise = |tensor: &Tensor| QTensor::quantize(tensor, GgmlDType::F32).expect("a tensor");
    let tensors: Vec<(String, QTensor)> = tensors
        .iter()
        .map(|(name, tensor)| (name.clone(), quantise(tensor)))
        .collect();
    let tensors: Vec<(&str, &QTensor)> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor))
        .collect();
    let metadata: Vec<(&str, &gguf_file::Value)> = metadata
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .collect();
    let mut file = std::fs::File::create(path).expect("a file");
    gguf_file::write(&mut file, &metadata, &tensors).expect("a GGUF file");
}

#[test]
fn gguf_matches_its_checkpoint() {
    let directory = TempDir::new().expect("a directory");
    for architecture in Architecture::ALL {
        let config = tiny::config(architecture);
        let decoder = tiny::decoder(&config, 21);
        let path = directory.path().join("model.gguf");
        write_gguf(
            &path,
            &metadata(&config, "smollm"),
            &to_gguf(&config, decoder.parameters()),
        );
        let model = Checkpoint::open(&path).expect("a model");
        assert_eq!(*model.config(), config);
        let loaded = Decoder::load(&model).expect("a decoder");
        for (name, tensor) in decoder.parameters() {
            let difference = (tensor - &loaded.parameters()[name])
                .and_then(|d| d.abs()?.max_all()?.to_scalar::<f32>());
            assert_eq!(
                difference.expect("a number"),
                0.0,
                "{architecture:?}: {name}"
            );
        }
        let tokens = [1, 5, 9, 250];
        assert_eq!(
            tiny::reference_logits(&loaded, &tokens),
            tiny::reference_logits(&decoder, &tokens)
        );
    }
}

#[test]
fn invalid_gguf_is_rejected_with_reason() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("model.gguf");
    let config = tiny::config(Architecture::Llama);
    let tensors = to_gguf(&config, &tiny::parameters(&config, 2));

    let mut of_another = metadata(&config, "smollm");
    of_another.retain(|(name, _)| name != "general.architecture");
    of_another.push((
        "general.architecture".into(),
        gguf_file::Value::String("mamba".into()),
    ));
    write_gguf(&path, &of_another, &tensors);
    assert!(refusal(&path).ends_with(
        "architecture `mamba` is not supported; supported are qwen2, llama, mistral and internlm2"
    ));

    write_gguf(&path, &metadata(&config, "klingon"), &tensors);
    let error = Checkpoint::open(&path)
        .expect("a model")
        .tokenizer()
        .err()
        .expect("an error")
        .to_string();
    assert!(
        error.contains("the splitting rule `klingon` (tokenizer.ggml.pre) is not known"),
        "{error}"
    );
    write_gguf(&path, &metadata(&config, "gpt-2"), &tensors);
    let model = Checkpoint::open(&path).expect("a model");
    let tokenizer = model.tokenizer().expect("a tokenizer");
    let error = model
        .chat_template(&tokenizer)
        .err()
        .expect("an error")
        .to_string();
    assert!(
        error.starts_with(&format!("chat template of {}: missing", path.display())),
        "{error}"
    );

    let bytes = std::fs::read(&path).expect("bytes");
    std::fs::write(&path, &bytes[..bytes.len() - 100]).expect("a file");
    assert!(
        refusal(&path).contains("truncated: it ends at byte"),
        "{}",
        refusal(&path)
    );
    std::fs::write(&path, b"GGUF\x03\0\0\0").expect("a file");
    assert!(
        refusal(&path).contains("not a readable GGUF file"),
        "{}",
        refusal(&path)
    );
}
