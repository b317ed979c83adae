//! Models that are wrong in one way, made from the tiny chat model: what a person meets after a broken download, a wrong
//! export, a file put in the wrong folder.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value as Entry};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use serde_json::Value;

use super::tiny_run::tiny_models;

/// A copy of the tiny chat model that may be broken.
#[derive(Clone, Debug)]
pub struct BrokenModel {
    directory: PathBuf,
}

impl BrokenModel {
    /// A whole copy in `directory`.
    pub fn copy(directory: &Path) -> Self {
        fs::create_dir_all(directory).expect("a directory");
        for entry in fs::read_dir(tiny_models().chat)
            .expect("the tiny model")
            .flatten()
        {
            fs::copy(entry.path(), directory.join(entry.file_name())).expect("a copied file");
        }
        BrokenModel {
            directory: directory.to_path_buf(),
        }
    }

    /// Cuts a file to a share of its length.
    pub fn truncate(self, file: &str, share: f64) -> Self {
        truncate(&self.directory.join(file), share);
        self
    }

    /// Removes a file.
    pub fn without(self, file: &str) -> Self {
        fs::remove_file(self.directory.join(file))
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        self
    }

    /// Removes a file, where it is there.
    pub fn without_if_there(self, file: &str) -> Self {
        let _ = fs::remove_file(self.directory.join(file));
        self
    }

    /// Changes a JSON file.
    pub fn edit(self, file: &str, change: impl FnOnce(&mut Value)) -> Self {
        let path = self.directory.join(file);
        let mut value: Value = serde_json::from_slice(
            &fs::read(&path).unwrap_or_else(|error| panic!("{file}: {error}")),
        )
        .expect("JSON");
        change(&mut value);
        fs::write(path, value.to_string()).expect("a written file");
        self
    }

    /// Changes the weights.
    pub fn weights(self, change: impl FnOnce(&mut HashMap<String, Tensor>)) -> Self {
        let path = self.directory.join("model.safetensors");
        let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).expect("weights");
        change(&mut tensors);
        candle_core::safetensors::save(&tensors, &path).expect("written weights");
        self
    }
}

/// Cuts a file to a share of its length.
pub fn truncate(path: &Path, share: f64) {
    let bytes = fs::read(path).expect("a file");
    let kept = (bytes.len() as f64 * share) as usize;
    fs::write(path, &bytes[..kept]).expect("a written file");
}

/// Writes a tiny GGUF model of random weights, whole in form: architecture llama, two layers, a byte-level tokenizer.
pub fn tiny_gguf(path: &Path) {
    const HIDDEN: usize = 64;
    const FEED: usize = 128;
    const LAYERS: usize = 2;
    const VOCABULARY: usize = 259;
    let number = |value: usize| Entry::U32(u32::try_from(value).expect("a small number"));
    let text = |value: &str| Entry::String(value.into());
    let mut tokens = byte_alphabet();
    tokens.extend(["ab", "<s>", "</s>"].map(String::from));
    let types = (0..VOCABULARY)
        .map(|id| Entry::I32(if id < 257 { 1 } else { 3 }))
        .collect();
    let tokens = tokens.iter().map(|token| text(token)).collect();
    let metadata = [
        ("general.architecture", text("llama")),
        ("llama.block_count", number(LAYERS)),
        ("llama.context_length", number(256)),
        ("llama.embedding_length", number(HIDDEN)),
        ("llama.feed_forward_length", number(FEED)),
        ("llama.attention.head_count", number(4)),
        ("llama.attention.head_count_kv", number(2)),
        ("llama.attention.layer_norm_rms_epsilon", Entry::F32(1e-5)),
        ("llama.rope.dimension_count", number(HIDDEN / 4)),
        ("llama.rope.freq_base", Entry::F32(10_000.0)),
        ("llama.vocab_size", number(VOCABULARY)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("smollm")),
        ("tokenizer.ggml.tokens", Entry::Array(tokens)),
        ("tokenizer.ggml.token_type", Entry::Array(types)),
        ("tokenizer.ggml.merges", Entry::Array(vec![text("a b")])),
        ("tokenizer.ggml.bos_token_id", number(257)),
        ("tokenizer.ggml.eos_token_id", number(258)),
        (
            "tokenizer.chat_template",
            text("{% for message in messages %}<s>{{ message['content'] }}</s>{% endfor %}"),
        ),
    ];
    let mut shapes = vec![
        ("token_embd.weight".to_string(), vec![VOCABULARY, HIDDEN]),
        ("output_norm.weight".into(), vec![HIDDEN]),
    ];
    for layer in 0..LAYERS {
        let sizes: [(&str, &[usize]); 9] = [
            ("attn_norm", &[HIDDEN]),
            ("attn_q", &[HIDDEN, HIDDEN]),
            ("attn_k", &[HIDDEN / 2, HIDDEN]),
            ("attn_v", &[HIDDEN / 2, HIDDEN]),
            ("attn_output", &[HIDDEN, HIDDEN]),
            ("ffn_norm", &[HIDDEN]),
            ("ffn_gate", &[FEED, HIDDEN]),
            ("ffn_up", &[FEED, HIDDEN]),
            ("ffn_down", &[HIDDEN, FEED]),
        ];
        shapes.extend(
            sizes
                .iter()
                .map(|(name, shape)| (format!("blk.{layer}.{name}.weight"), shape.to_vec())),
        );
    }
    let tensors: Vec<(String, QTensor)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let count: usize = shape.iter().product();
            let values: Vec<f32> = (0..count)
                .map(|index| ((index * 7919 % 1000) as f32 / 1000.0 - 0.5) / 8.0)
                .collect();
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor");
            (
                name,
                QTensor::quantize(&tensor, GgmlDType::F32).expect("a tensor"),
            )
        })
        .collect();
    let metadata: Vec<(&str, &Entry)> = metadata
        .iter()
        .map(|(name, value)| (*name, value))
        .collect();
    let tensors: Vec<(&str, &QTensor)> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor))
        .collect();
    let mut file = fs::File::create(path).expect("a file");
    gguf_file::write(&mut file, &metadata, &tensors).expect("a written model");
}

/// The character for each byte, as byte-level vocabularies write it: printable ones stand for themselves.
fn byte_alphabet() -> Vec<String> {
    let is_printable = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut next = 256..;
    let code = |byte: u32| {
        if is_printable(byte) {
            byte
        } else {
            next.next().unwrap_or(byte)
        }
    };
    (0..256)
        .map(code)
        .filter_map(char::from_u32)
        .map(String::from)
        .collect()
}

/// A tensor of zeros of the same shape.
pub fn zeros(tensor: &Tensor) -> Tensor {
    Tensor::zeros(tensor.shape(), DType::F32, &Device::Cpu).expect("zeros")
}
