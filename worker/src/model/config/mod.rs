//! The shape of a model: read from a Hugging Face `config.json` or from GGUF metadata, checked once,
//! and written back in the Hugging Face layout. Field names are those of `config.json`.

use std::collections::BTreeMap;
use std::path::Path;

use super::ModelError;

mod gguf;
mod hugging_face;
mod memory;
mod to_hugging_face;

/// The decoder families that the one definition covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Qwen2 and Qwen2.5: biases on the query, key and value projections.
    Qwen2,
    /// Llama, SmolLM2, DeepSeek (dense): no biases unless `attention_bias`.
    Llama,
}

/// The names that are supported, for messages.
const SUPPORTED: &str = "supported are qwen2 and llama";

impl Architecture {
    /// The `model_type` of `config.json`, which is also GGUF's `general.architecture`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Qwen2 => "qwen2",
            Self::Llama => "llama",
        }
    }

    fn class_prefix(self) -> &'static str {
        match self {
            Self::Qwen2 => "Qwen2",
            Self::Llama => "Llama",
        }
    }

    fn from_name(name: &str, path: &Path) -> Result<Self, ModelError> {
        match name {
            "qwen2" => Ok(Self::Qwen2),
            "llama" => Ok(Self::Llama),
            other => Err(ModelError::unsupported(
                path,
                format!("architecture `{other}` is not supported; {SUPPORTED}"),
            )),
        }
    }
}

/// What the last hidden state is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Logits over the vocabulary: `lm_head.weight`, or the embedding where tied.
    LanguageModel,
    /// One number, a reward or a difficulty: `score.weight` of shape (1, hidden).
    Scalar,
    /// Logits over this many classes: `score.weight` of shape (n, hidden).
    Classes(usize),
}

/// How rotary frequencies are stretched for long contexts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Positions divided by the factor (`rope_type: linear`, DeepSeek-Coder).
    Linear {
        /// By how much.
        factor: f64,
    },
    /// Low frequencies divided by the factor, high ones kept (`rope_type: llama3`).
    Llama3 {
        /// By how much the low frequencies are divided.
        factor: f64,
        /// Wavelengths longer than original context / this are scaled in full.
        low_freq_factor: f64,
        /// Wavelengths shorter than original context / this are kept.
        high_freq_factor: f64,
        /// The context length before stretching.
        original_max_position_embeddings: usize,
    },
}

/// The shape of one decoder-only model. All counts are numbers of features, heads, layers or tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The family.
    pub architecture: Architecture,
    /// What sits on the last hidden state.
    pub head: Head,
    /// Rows of the embedding; the tokenizer may use fewer.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the SwiGLU layer.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Stretching of the rotary frequencies, where the model has one.
    pub rope_scaling: Option<RopeScaling>,
    /// The longest context, in tokens.
    pub max_position_embeddings: usize,
    /// Whether the language model head is the embedding.
    pub tie_word_embeddings: bool,
    /// Whether query, key and value projections have biases.
    pub qkv_bias: bool,
    /// Whether the attention's output projection has a bias.
    pub output_bias: bool,
}

impl ModelConfig {
    /// Reads a `config.json` of the Hugging Face layout.
    ///
    /// # Errors
    /// Names the file and field: a missing or impossible value, or an architecture, activation,
    /// rotary scaling or sliding window that is not supported.
    pub fn from_hugging_face(path: &Path) -> Result<Self, ModelError> {
        hugging_face::read(path)?.checked(path)
    }

    /// Reads GGUF metadata. `path` is for messages.
    ///
    /// # Errors
    /// As [`ModelConfig::from_hugging_face`].
    pub(super) fn from_gguf(
        content: &candle_core::quantized::gguf_file::Content,
        path: &Path,
    ) -> Result<Self, ModelError> {
        gguf::read(content, path)?.checked(path)
    }

    fn checked(self, path: &Path) -> Result<Self, ModelError> {
        let refuse = |reason: String| Err(ModelError::invalid(path, reason));
        for (field, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ] {
            if value == 0 || value > u32::MAX as usize {
                return refuse(format!("`{field}` is {value}; expected 1 to {}", u32::MAX));
            }
        }
        if !self
            .num_attention_heads
            .is_multiple_of(self.num_key_value_heads)
        {
            return refuse(format!(
                "`num_attention_heads` ({}) is not a multiple of `num_key_value_heads` ({})",
                self.num_attention_heads, self.num_key_value_heads
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return refuse(format!(
                "`head_dim` is {}; rotary embeddings need an even width",
                self.head_dim
            ));
        }
        if !(self.rms_norm_eps >= 0.0 && self.rms_norm_eps < 1.0) {
            return refuse(format!(
                "`rms_norm_eps` is {}; expected 0 to 1",
                self.rms_norm_eps
            ));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            return refuse(format!(
                "`rope_theta` is {}; expected a positive number",
                self.rope_theta
            ));
        }
        if self.head == Head::Classes(0) {
            return refuse("a classifier needs at least one class in `id2label`".into());
        }
        Ok(self)
    }

    /// Width of all query heads together.
    pub fn query_size(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn key_value_size(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// The checkpoint key of the matrix that makes the head's output.
    pub fn head_weight(&self) -> &'static str {
        match self.head {
            Head::LanguageModel if self.tie_word_embeddings => "model.embed_tokens.weight",
            Head::LanguageModel => "lm_head.weight",
            Head::Scalar | Head::Classes(_) => "score.weight",
        }
    }

    /// Every parameter's checkpoint key and shape; matrices are (out, in).
    pub fn parameter_shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let (query, key_value) = (self.query_size(), self.key_value_size());
        let mut shapes = BTreeMap::new();
        shapes.insert(
            "model.embed_tokens.weight".to_owned(),
            vec![self.vocab_size, hidden],
        );
        shapes.insert("model.norm.weight".to_owned(), vec![hidden]);
        match self.head {
            Head::LanguageModel if self.tie_word_embeddings => None,
            Head::LanguageModel => {
                shapes.insert("lm_head.weight".into(), vec![self.vocab_size, hidden])
            }
            Head::Scalar => shapes.insert("score.weight".into(), vec![1, hidden]),
            Head::Classes(n) => shapes.insert("score.weight".into(), vec![n, hidden]),
        };
        for layer in 0..self.num_hidden_layers {
            let mut add = |name: &str, shape: Vec<usize>| {
                shapes.insert(format!("model.layers.{layer}.{name}"), shape);
            };
            add("input_layernorm.weight", vec![hidden]);
            add("post_attention_layernorm.weight", vec![hidden]);
            add("self_attn.q_proj.weight", vec![query, hidden]);
            add("self_attn.k_proj.weight", vec![key_value, hidden]);
            add("self_attn.v_proj.weight", vec![key_value, hidden]);
            add("self_attn.o_proj.weight", vec![hidden, query]);
            add("mlp.gate_proj.weight", vec![inner, hidden]);
            add("mlp.up_proj.weight", vec![inner, hidden]);
            add("mlp.down_proj.weight", vec![hidden, inner]);
            if self.qkv_bias {
                add("self_attn.q_proj.bias", vec![query]);
                add("self_attn.k_proj.bias", vec![key_value]);
                add("self_attn.v_proj.bias", vec![key_value]);
            }
            if self.output_bias {
                add("self_attn.o_proj.bias", vec![hidden]);
            }
        }
        shapes
    }

    /// The rotary frequency of each pair of features: `theta^(-2 j / head_dim)`, stretched where the model
    /// says so. One a pair, in f32 as the models' own implementation has them.
    pub fn rotary_frequencies(&self) -> Vec<f32> {
        let frequency = |pair: usize| {
            let exponent = (2 * pair) as f32 / self.head_dim as f32;
            let frequency = 1.0 / self.rope_theta.powf(f64::from(exponent));
            self.rope_scaling
                .map_or(frequency, |scaling| scaling.apply(frequency)) as f32
        };
        (0..self.head_dim / 2).map(frequency).collect()
    }
}

impl RopeScaling {
    fn apply(self, frequency: f64) -> f64 {
        match self {
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let context = original_max_position_embeddings as f64;
                let wavelength = 2.0 * std::f64::consts::PI / frequency;
                if wavelength < context / high_freq_factor {
                    frequency
                } else if wavelength > context / low_freq_factor {
                    frequency / factor
                } else {
                    let keep = (context / wavelength - low_freq_factor)
                        / (high_freq_factor - low_freq_factor);
                    (1.0 - keep) * frequency / factor + keep * frequency
                }
            }
        }
    }
}
