//! Reads a Hugging Face `config.json`, in the spelling of transformers 4 (`rope_theta`) and of
//! transformers 5 (`rope_parameters`). It refuses what the decoder would compute wrongly.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{Architecture, Head, ModelConfig, RopeScaling};
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
    use_sliding_window: Option<bool>,
    num_labels: Option<usize>,
    id2label: Option<serde_json::Map<String, Value>>,
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
    let attention_bias = file.attention_bias.unwrap_or(false);
    Ok(ModelConfig {
        architecture,
        head: head(&file, path)?,
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
        output_bias: architecture == Architecture::Llama && attention_bias,
    })
}

fn refuse_what_is_not_computed(file: &File, path: &Path) -> Result<(), ModelError> {
    let activation = file.hidden_act.as_deref().unwrap_or("silu");
    if activation != "silu" {
        let reason = format!("`hidden_act` is `{activation}`; supported is silu");
        return Err(ModelError::unsupported(path, reason));
    }
    if file.use_sliding_window == Some(true) {
        let reason = "`use_sliding_window` is true; sliding window attention is not supported";
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

fn head(file: &File, path: &Path) -> Result<Head, ModelError> {
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
        Err(ModelError::unsupported(
            path,
            format!(
                "`architectures` is `{class}`; supported are classes that end in ForCausalLM or \
                 ForSequenceClassification"
            ),
        ))
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
        "llama3" => Some(RopeScaling::Llama3 {
            factor: number("factor")?,
            low_freq_factor: number("low_freq_factor")?,
            high_freq_factor: number("high_freq_factor")?,
            original_max_position_embeddings: number("original_max_position_embeddings")? as usize,
        }),
        other => {
            let reason = format!(
                "rotary scaling `{other}` is not supported; supported are default, linear and llama3"
            );
            return Err(ModelError::unsupported(path, reason));
        }
    };
    Ok((theta, scaling))
}
