//! The families that the one definition of the decoder covers, and how their files call them.

use std::path::Path;

use crate::model::ModelError;

/// The decoder families that the one definition covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Qwen2 and Qwen2.5: biases on the query, key and value projections.
    Qwen2,
    /// Llama, SmolLM2, DeepSeek (dense): no biases unless `attention_bias`.
    Llama,
    /// Mistral: as Llama without biases, and a window on attention where the model has one.
    Mistral,
    /// InternLM2 and InternLM2.5: computes what Llama computes, from tensors with other names, queries, keys and
    /// values in one. Saved as a Llama model, which everybody's tools load.
    InternLm2,
}

/// The names that are supported, for messages.
const SUPPORTED: &str = "supported are qwen2, llama, mistral and internlm2";

impl Architecture {
    /// Every family.
    pub const ALL: [Self; 4] = [Self::Qwen2, Self::Llama, Self::Mistral, Self::InternLm2];

    /// The `model_type` of `config.json`. GGUF's `general.architecture` is the same, except that Mistral models are `llama` there.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Qwen2 => "qwen2",
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::InternLm2 => "internlm2",
        }
    }

    /// The family as which a model of this one is written: one that transformers knows without code from elsewhere.
    pub fn saved_as(self) -> Self {
        match self {
            Self::InternLm2 => Self::Llama,
            other => other,
        }
    }

    pub(super) fn class_prefix(self) -> &'static str {
        match self {
            Self::Qwen2 => "Qwen2",
            Self::Llama => "Llama",
            Self::Mistral => "Mistral",
            Self::InternLm2 => "InternLM2",
        }
    }

    /// Whether llama.cpp's converter writes a family's query and key rows interleaved, for its own rotary order.
    pub(in crate::model) fn is_interleaved_in_gguf(self) -> bool {
        self != Self::Qwen2
    }

    pub(super) fn from_name(name: &str, path: &Path) -> Result<Self, ModelError> {
        let known = Self::ALL.into_iter().find(|each| each.model_type() == name);
        known.ok_or_else(|| {
            ModelError::unsupported(
                path,
                format!("architecture `{name}` is not supported; {SUPPORTED}"),
            )
        })
    }
}
