//! Reads a model's shape from GGUF metadata. Only a language model head exists in this format.

use std::path::Path;

use candle_core::quantized::gguf_file::{Content, Value};

use super::{Architecture, Head, ModelConfig, SlidingWindow};
use crate::model::ModelError;

/// Returns a text of a GGUF file's metadata; `None` if the file cannot be read or has no such text.
pub fn gguf_text(path: &Path, key: &str) -> Option<String> {
    let mut reader = std::io::BufReader::new(std::fs::File::open(path).ok()?);
    let content = Content::read(&mut reader).ok()?;
    content.metadata.get(key)?.to_string().ok().cloned()
}

pub(super) fn read(content: &Content, path: &Path) -> Result<ModelConfig, ModelError> {
    let name = match content.metadata.get("general.architecture") {
        Some(Value::String(name)) => name.as_str(),
        _ => {
            return Err(ModelError::invalid(
                path,
                "metadata `general.architecture` is missing",
            ));
        }
    };
    let architecture = Architecture::from_name(name, path)?;
    if architecture == Architecture::Mistral {
        let reason = "architecture `mistral` is none of this format's, which calls such models `llama`; convert the model again";
        return Err(ModelError::unsupported(path, reason));
    }
    let fields = Fields {
        content,
        path,
        prefix: architecture.model_type(),
    };
    fields.refuse_what_is_not_computed()?;

    let hidden_size = fields.count("embedding_length")?;
    let num_attention_heads = fields.count("attention.head_count")?;
    let head_dim = fields
        .optional_count("attention.key_length")?
        .unwrap_or(hidden_size / num_attention_heads.max(1));
    if let Some(rotated) = fields.optional_count("rope.dimension_count")?
        && rotated != head_dim
    {
        let reason = format!(
            "only {rotated} of {head_dim} features of a head are rotated; that is not supported"
        );
        return Err(ModelError::unsupported(path, reason));
    }
    let embedding = content
        .tensor_infos
        .get("token_embd.weight")
        .ok_or_else(|| {
            ModelError::tensor(
                "model.embed_tokens.weight",
                path,
                "missing (`token_embd.weight` in this format)",
            )
        })?;
    let vocab_size = embedding.shape.dims().first().copied().unwrap_or(0);
    let num_hidden_layers = fields.count("block_count")?;
    let sliding_window = fields.sliding_window(architecture, num_hidden_layers)?;
    let has_bias = |tensor: &str| content.tensor_infos.contains_key(tensor);
    Ok(ModelConfig {
        architecture: match sliding_window {
            // What has a window is written as the family that has one.
            Some(_) => Architecture::Mistral,
            None => architecture,
        },
        head: Head::LanguageModel,
        vocab_size,
        hidden_size,
        intermediate_size: fields.count("feed_forward_length")?,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads: fields
            .optional_count("attention.head_count_kv")?
            .unwrap_or(num_attention_heads),
        head_dim,
        rms_norm_eps: fields.number("attention.layer_norm_rms_epsilon")?,
        rope_theta: fields
            .optional_number("rope.freq_base")?
            .unwrap_or(10_000.0),
        rope_scaling: None,
        max_position_embeddings: fields.count("context_length")?,
        // A converter writes `output.weight` where it quantises the head apart from the embedding, even
        // when the original ties them; what is in the file is what is computed.
        tie_word_embeddings: !content.tensor_infos.contains_key("output.weight"),
        qkv_bias: architecture == Architecture::Qwen2 || has_bias("blk.0.attn_q.bias"),
        output_bias: has_bias("blk.0.attn_output.bias"),
        sliding_window,
        reward_token: None,
    })
}

struct Fields<'a> {
    content: &'a Content,
    path: &'a Path,
    prefix: &'static str,
}

impl Fields<'_> {
    fn get(&self, field: &str) -> Option<&Value> {
        self.content
            .metadata
            .get(&format!("{}.{field}", self.prefix))
    }

    fn missing(&self, field: &str) -> ModelError {
        ModelError::invalid(
            self.path,
            format!("metadata `{}.{field}` is missing", self.prefix),
        )
    }

    fn optional_count(&self, field: &str) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        let count = match value {
            Value::U8(n) => Some(u64::from(*n)),
            Value::U16(n) => Some(u64::from(*n)),
            Value::U32(n) => Some(u64::from(*n)),
            Value::U64(n) => Some(*n),
            Value::I32(n) => u64::try_from(*n).ok(),
            Value::I64(n) => u64::try_from(*n).ok(),
            _ => None,
        };
        match count {
            Some(count) => Ok(Some(count as usize)),
            None => Err(ModelError::invalid(
                self.path,
                format!(
                    "metadata `{}.{field}` is {value:?}; expected a count",
                    self.prefix
                ),
            )),
        }
    }

    fn count(&self, field: &str) -> Result<usize, ModelError> {
        self.optional_count(field)?
            .ok_or_else(|| self.missing(field))
    }

    fn optional_number(&self, field: &str) -> Result<Option<f64>, ModelError> {
        match self.get(field) {
            None => Ok(None),
            // Written as f32 from a short decimal: the decimal is what was meant (1e-6, not 9.99999997e-7).
            Some(Value::F32(number)) => Ok(number.to_string().parse().ok()),
            Some(Value::F64(number)) => Ok(Some(*number)),
            Some(other) => Err(ModelError::invalid(
                self.path,
                format!(
                    "metadata `{}.{field}` is {other:?}; expected a number",
                    self.prefix
                ),
            )),
        }
    }

    fn number(&self, field: &str) -> Result<f64, ModelError> {
        self.optional_number(field)?
            .ok_or_else(|| self.missing(field))
    }

    /// A window is Mistral's and in all layers: this format has no word for one in some of them.
    fn sliding_window(
        &self,
        architecture: Architecture,
        layers: usize,
    ) -> Result<Option<SlidingWindow>, ModelError> {
        match self.optional_count("attention.sliding_window")? {
            None | Some(0) => Ok(None),
            Some(tokens) if architecture == Architecture::Llama => {
                Ok(SlidingWindow::in_layers(tokens, 0..layers))
            }
            Some(_) => {
                let reason = format!(
                    "`{}.attention.sliding_window` does not say in which layers; use the safetensors checkpoint",
                    self.prefix
                );
                Err(ModelError::unsupported(self.path, reason))
            }
        }
    }

    fn refuse_what_is_not_computed(&self) -> Result<(), ModelError> {
        if let Some(Value::String(kind)) = self.get("rope.scaling.type")
            && kind != "none"
        {
            let reason = format!(
                "rotary scaling `{kind}` is not supported in GGUF; use the safetensors checkpoint"
            );
            return Err(ModelError::unsupported(self.path, reason));
        }
        for (tensor, what) in [
            ("rope_freqs.weight", "scaled rotary frequencies"),
            ("blk.0.ffn_gate_inp.weight", "mixtures of experts"),
            ("blk.0.ffn_gate.bias", "biases in the MLP"),
        ] {
            if self.content.tensor_infos.contains_key(tensor) {
                let reason = format!("{what} (tensor `{tensor}`) are not supported in GGUF");
                return Err(ModelError::unsupported(self.path, reason));
            }
        }
        Ok(())
    }
}
