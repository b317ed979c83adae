//! Reads a Hugging Face `config.json`, in the spelling of transformers 4 (`rope_theta`) and of
//! transformers 5 (`rope_parameters`). It refuses what the decoder would compute wrongly.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{Architecture, Head, ModelConfig, RopeScaling, SlidingWindow};
use crate::model::ModelError;

#[derive(Deserialize)]
struct File {
    model_type: String,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    rms_norm_eps: Option<f64>,
    hidden_act: Option<String>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
    max_position_embeddings: usize,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    /// InternLM2's: on all of attention's projections.
    bias: Option<bool>,
    use_sliding_window: Option<bool>,
    /// Absent and null differ: Mistral's code has a window where its configuration does not say that it has none.
    #[serde(default, deserialize_with = "present")]
    sliding_window: Option<Option<usize>>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    reward_token_id: Option<u32>,
    num_labels: Option<usize>,
    id2label: Option<serde_json::Map<String, Value>>,
}

/// What transformers takes for `sliding_window` where a configuration does not say.
const DEFAULT_WINDOW: usize = 4096;
/// What it takes for Qwen2's `max_window_layers`.
const DEFAULT_WINDOW_LAYERS: usize = 28;

fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Option<usize>>, D::Error> {
    Option::deserialize(value).map(Some)
}

pub(super) fn read(path: &Path) -> Result<ModelConfig, ModelError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| ModelError::io("read", path, error))?;
    let raw: Value =
        serde_json::from_str(&text).map_err(|error| ModelError::invalid(path, error))?;
    // The kind of model first: a model of another kind lacks other fields too, and its name explains them.
    let model_type = raw.get("model_type").and_then(Value::as_str).unwrap_or("");
    let architecture = Architecture::from_name(model_type, path)?;
    let file: File =
        serde_json::from_value(raw).map_err(|error| ModelError::invalid(path, error))?;
    debug_assert_eq!(file.model_type, architecture.model_type());

    refuse_what_is_not_computed(&file, path)?;
    let (rope_theta, rope_scaling) = rope(&file, path)?;
    let attention_bias = match architecture {
        Architecture::InternLm2 => file.bias.unwrap_or(true),
        Architecture::Mistral => false,
        Architecture::Qwen2 | Architecture::Llama => file.attention_bias.unwrap_or(false),
    };
    Ok(ModelConfig {
        architecture,
        head: head(&file, architecture, path)?,
        vocab_size: file.vocab_size,
        hidden_size: file.hidden_size,
        intermediate_size: file.intermediate_size,
        num_hidden_layers: file.num_hidden_layers,
        num_attention_heads: file.num_attention_heads,
        num_key_value_heads: file.num_key_value_heads.unwrap_or(file.num_attention_heads),
        head_dim: file
            .head_dim
            .unwrap_or(file.hidden_size / file.num_attention_heads.max(1)),
        rms_norm_eps: file.rms_norm_eps.unwrap_or(1e-6),
        rope_theta,
        rope_scaling,
        max_position_embeddings: file.max_position_embeddings,
        tie_word_embeddings: file.tie_word_embeddings.unwrap_or(false),
        qkv_bias: architecture == Architecture::Qwen2 || attention_bias,
        output_bias: architecture != Architecture::Qwen2 && attention_bias,
        sliding_window: sliding_window(&file, architecture, path)?,
        reward_token: file.reward_token_id,
    })
}

fn refuse_what_is_not_computed(file: &File, path: &Path) -> Result<(), ModelError> {
    let activation = file.hidden_act.as_deref().unwrap_or("silu");
    if activation != "silu" {
        let reason = format!("`hidden_act` is `{activation}`; supported is silu");
        return Err(ModelError::unsupported(path, reason));
    }
    if file.mlp_bias == Some(true) {
        return Err(ModelError::unsupported(
            path,
            "`mlp_bias` is true; biases in the MLP are not supported",
        ));
    }
    Ok(())
}

/// In which layers there is a window: Mistral has it in all, Qwen2 in those that `layer_types` names, or else from
/// `max_window_layers` on.
fn sliding_window(
    file: &File,
    architecture: Architecture,
    path: &Path,
) -> Result<Option<SlidingWindow>, ModelError> {
    let Some(tokens) = file.sliding_window.unwrap_or(Some(DEFAULT_WINDOW)) else {
        return Ok(None);
    };
    let all = 0..file.num_hidden_layers;
    match architecture {
        Architecture::Mistral => Ok(SlidingWindow::in_layers(tokens, all)),
        Architecture::Qwen2 if file.use_sliding_window == Some(true) => {
            let Some(types) = &file.layer_types else {
                let first = file.max_window_layers.unwrap_or(DEFAULT_WINDOW_LAYERS);
                return Ok(SlidingWindow::in_layers(tokens, first..all.end));
            };
            let mut layers = Vec::new();
            for (layer, kind) in types.iter().enumerate() {
                match kind.as_str() {
                    "sliding_attention" => layers.push(layer),
                    "full_attention" => {}
                    other => {
                        let reason = format!(
                            "`layer_types` has `{other}`; supported are full_attention and sliding_attention"
                        );
                        return Err(ModelError::unsupported(path, reason));
                    }
                }
            }
            if types.len() != all.end {
                let reason = format!("`layer_types` names {} layers of {}", types.len(), all.end);
                return Err(ModelError::invalid(path, reason));
            }
            Ok(SlidingWindow::in_layers(tokens, layers))
        }
        Architecture::Qwen2 | Architecture::Llama | Architecture::InternLm2 => Ok(None),
    }
}

fn head(file: &File, architecture: Architecture, path: &Path) -> Result<Head, ModelError> {
    let Some(class) = file
        .architectures
        .as_ref()
        .and_then(|classes| classes.first())
    else {
        return Ok(Head::LanguageModel);
    };
    if class.ends_with("ForCausalLM") {
        Ok(Head::LanguageModel)
    } else if class.ends_with("ForSequenceClassification") {
        let labels = file
            .id2label
            .as_ref()
            .map(|labels| labels.len())
            .or(file.num_labels)
            .unwrap_or(2);
        Ok(if labels == 1 {
            Head::Scalar
        } else {
            Head::Classes(labels)
        })
    } else {
        match (class.as_str(), architecture) {
            ("Qwen2ForRewardModel", Architecture::Qwen2) => Ok(Head::TwoLayerScalar),
            ("InternLM2ForRewardModel", Architecture::InternLm2) => Ok(Head::Scalar),
            _ => Err(ModelError::unsupported(
                path,
                format!(
                    "`architectures` is `{class}`; supported are classes that end in ForCausalLM or \
                     ForSequenceClassification, Qwen2ForRewardModel and InternLM2ForRewardModel"
                ),
            )),
        }
    }
}

fn rope(file: &File, path: &Path) -> Result<(f64, Option<RopeScaling>), ModelError> {
    let parameters = file.rope_parameters.as_ref();
    let theta = parameters
        .and_then(|rope| rope.get("rope_theta"))
        .and_then(Value::as_f64)
        .or(file.rope_theta)
        .unwrap_or(10_000.0);
    let Some(scaling) = file
        .rope_scaling
        .as_ref()
        .filter(|value| !value.is_null())
        .or(parameters)
    else {
        return Ok((theta, None));
    };
    let kind = scaling
        .get("rope_type")
        .or_else(|| scaling.get("type"))
        .and_then(Value::as_str)
        .unwrap_or("default");
    let number = |field: &str| {
        scaling
            .get(field)
            .and_then(Value::as_f64)
            .filter(|value| *value > 0.0)
            .ok_or_else(|| {
                ModelError::invalid(
                    path,
                    format!("`rope_scaling.{field}` must be a positive number"),
                )
            })
    };
    let scaling = match kind {
        "default" => None,
        "linear" => Some(RopeScaling::Linear {
            factor: number("factor")?,
        }),
        "dynamic" => {
            // Beyond this length, where it is given, the base is raised already within `max_position_embeddings`.
            if let Some(original) = scaling.get("original_max_position_embeddings")
                && original.as_u64() != Some(file.max_position_embeddings as u64)
            {
                let reason = "rotary scaling `dynamic` with `original_max_position_embeddings` below \
                              `max_position_embeddings` is not supported";
                return Err(ModelError::unsupported(path, reason));
            }
            Some(RopeScaling::Dynamic {
                factor: number("factor")?,
            })
        }
        "llama3" => Some(RopeScaling::Llama3 {
            factor: number("factor")?,
            low_freq_factor: number("low_freq_factor")?,
            high_freq_factor: number("high_freq_factor")?,
            original_max_position_embeddings: number("original_max_position_embeddings")? as usize,
        }),
        other => {
            let reason = format!(
                "rotary scaling `{other}` is not supported; supported are default, linear, dynamic and llama3"
            );
            return Err(ModelError::unsupported(path, reason));
        }
    };
    Ok((theta, scaling))
}
