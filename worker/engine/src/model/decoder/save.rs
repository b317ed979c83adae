//! Writes a model in the Hugging Face layout, so that this worker and everybody else's tools load it.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use safetensors::{Dtype, View};
use serde_json::{Value, json};

use crate::heartbeat::beat;
use crate::model::{ChatTemplate, Head, ModelConfig, ModelError, Tokenizer};

/// Writes `config.json`, `generation_config.json`, `model.safetensors` (f32), `tokenizer.json` and
/// `tokenizer_config.json` (with the chat template, where there is one) into an existing directory. The
/// bytes depend on the model alone.
///
/// # Errors
/// Names the file that cannot be written, or the parameter that is missing or of the wrong shape.
pub fn save(
    directory: &Path,
    config: &ModelConfig,
    parameters: &BTreeMap<String, Tensor>,
    tokenizer: &Tokenizer,
    chat_template: Option<&ChatTemplate>,
) -> Result<(), ModelError> {
    save_weights(&directory.join("model.safetensors"), config, parameters)?;

    // Without this `transformers` passes over every temperature and takes the likeliest token.
    let is_drawn_from = config.head == Head::LanguageModel;
    let special = tokenizer.special();
    let mut config = config.to_hugging_face();
    let ids = json!({
        "bos_token_id": special.bos,
        "eos_token_id": special.end,
        "pad_token_id": special.pad.or(special.end.first().copied()),
    });
    for (field, value) in ids
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null())
    {
        config[field] = value.clone();
    }
    write_json(&directory.join("config.json"), &config)?;
    let mut present: serde_json::Map<String, Value> = ids
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, v)| !v.is_null())
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    if is_drawn_from {
        present.insert("do_sample".into(), true.into());
    }
    write_json(
        &directory.join("generation_config.json"),
        &Value::Object(present),
    )?;

    write(
        &directory.join("tokenizer.json"),
        tokenizer.to_json()?.as_bytes(),
    )?;
    let text = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id));
    let mut companion = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": false,
        "model_max_length": config["max_position_embeddings"],
    });
    for (field, token) in [
        ("bos_token", text(special.bos)),
        ("eos_token", text(special.end.first().copied())),
        (
            "pad_token",
            text(special.pad.or(special.end.first().copied())),
        ),
        (
            "chat_template",
            chat_template.map(|template| template.source().to_owned()),
        ),
    ] {
        if let Some(token) = token {
            companion[field] = json!(token);
        }
    }
    write_json(&directory.join("tokenizer_config.json"), &companion)
}

fn save_weights(
    path: &Path,
    config: &ModelConfig,
    parameters: &BTreeMap<String, Tensor>,
) -> Result<(), ModelError> {
    let mut tensors = Vec::new();
    for (name, shape) in config.parameter_shapes() {
        let tensor = parameters
            .get(&name)
            .ok_or_else(|| ModelError::tensor(&name, path, "missing"))?;
        if tensor.dims() != shape {
            let reason = format!(
                "has shape {:?}; its configuration needs {shape:?}",
                tensor.dims()
            );
            return Err(ModelError::tensor(&name, path, reason));
        }
        tensors.push((
            name,
            tensor
                .detach()
                .to_dtype(candle_core::DType::F32)?
                .to_device(&candle_core::Device::Cpu)?
                .contiguous()?,
        ));
    }
    // Loaders of PyTorch models refuse a file that does not say it is one.
    let metadata = [("format".to_owned(), "pt".to_owned())]
        .into_iter()
        .collect();
    safetensors::serialize_to_file(
        tensors
            .iter()
            .map(|(name, tensor)| (name, CountedTensor(tensor))),
        Some(metadata),
        path,
    )
    .map_err(|error| match error {
        safetensors::SafeTensorError::IoError(error) => ModelError::io("write", path, error),
        error => ModelError::invalid(path, error),
    })
}

/// A tensor that is counted as work when it is written.
struct CountedTensor<'a>(&'a Tensor);

impl View for CountedTensor<'_> {
    fn dtype(&self) -> Dtype {
        View::dtype(&self.0)
    }

    fn shape(&self) -> &[usize] {
        View::shape(&self.0)
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        beat();
        View::data(&self.0)
    }

    fn data_len(&self) -> usize {
        View::data_len(&self.0)
    }
}

fn write_json(path: &Path, value: &Value) -> Result<(), ModelError> {
    write(path, format!("{value:#}\n").as_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    std::fs::write(path, bytes).map_err(|error| ModelError::io("write", path, error))
}
