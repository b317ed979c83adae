//! The shape of a model: read from a Hugging Face `config.json` or from GGUF metadata, checked once,
//! and written back in the Hugging Face layout. Field names are those of `config.json`.

use std::collections::BTreeMap;
use std::path::Path;

use super::ModelError;

mod architecture;
mod gguf;
mod head;
mod hugging_face;
mod memory;
mod rope;
mod to_hugging_face;
mod window;

pub use architecture::Architecture;
pub use gguf::gguf_text;
pub use head::Head;
pub use rope::RopeScaling;
pub use window::SlidingWindow;

/// The most layers that a model may say it has; the deepest that there are have some hundreds.
const MOST_LAYERS: usize = 10_000;

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
    /// The window on attention, where the model has one.
    pub sliding_window: Option<SlidingWindow>,
    /// The token at which a reward model's value is read, appended where a conversation does not end with it (InternLM2's
    /// `reward_token_id`); `None` where the last token of the conversation itself is read.
    pub reward_token: Option<u32>,
}

impl ModelConfig {
    /// Reads a `config.json` of the Hugging Face layout.
    ///
    /// # Errors
    /// Names the file and field: a missing or impossible value, or an architecture, activation,
    /// or rotary scaling that is not supported.
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
        if self.num_hidden_layers > MOST_LAYERS {
            let layers = self.num_hidden_layers;
            return refuse(format!(
                "`num_hidden_layers` is {layers}; expected 1 to {MOST_LAYERS}"
            ));
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
        if let Some(window) = &self.sliding_window
            && (window.tokens == 0 || window.tokens > u32::MAX as usize)
        {
            return refuse(format!(
                "`sliding_window` is {}; expected 1 to {}, or null for none",
                window.tokens,
                u32::MAX
            ));
        }
        if let Some(token) = self.reward_token
            && token as usize >= self.vocab_size
        {
            return refuse(format!(
                "`reward_token_id` is {token}, beyond the vocabulary of {}",
                self.vocab_size
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
        for (name, shape) in self.head_shapes() {
            shapes.insert(name.to_owned(), shape);
        }
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
}
