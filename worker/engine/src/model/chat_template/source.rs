//! Where a model keeps its chat template: newer files first.

use std::path::Path;

use candle_core::quantized::gguf_file::Value as GgufValue;
use serde_json::Value;

use crate::model::ModelError;
use crate::model::tokenizer::{TokenizerSource, read_optional};

/// The Jinja source of a model's chat template.
///
/// # Errors
/// Names the model and the searched places if it has none.
pub(in crate::model) fn find_source(
    source: &TokenizerSource<'_>,
    path: &Path,
) -> Result<String, ModelError> {
    let found = match source {
        TokenizerSource::Gguf(content) => match content.metadata.get("tokenizer.chat_template") {
            Some(GgufValue::String(text)) => Some(text.clone()),
            _ => None,
        },
        TokenizerSource::Directory(directory) => in_directory(directory)?,
    };
    found.ok_or_else(|| {
        let reason = "missing: the model has no chat_template.jinja, no chat_template.json and no `chat_template` in \
                      tokenizer_config.json (GGUF: `tokenizer.chat_template`); use a chat model, or add its template";
        ModelError::chat_template(path, reason)
    })
}

fn in_directory(directory: &Path) -> Result<Option<String>, ModelError> {
    let jinja = directory.join("chat_template.jinja");
    if jinja.is_file() {
        return std::fs::read_to_string(&jinja)
            .map(Some)
            .map_err(|error| ModelError::io("read", &jinja, error));
    }
    for file in ["chat_template.json", "tokenizer_config.json"] {
        if let Some(config) = read_optional(&directory.join(file))?
            && let Some(template) = config.get("chat_template")
            && let Some(text) = one_of(template)
        {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// The template itself, or the one named `default` of a list.
fn one_of(template: &Value) -> Option<String> {
    match template {
        Value::String(text) => Some(text.clone()),
        Value::Array(named) => {
            let default = named.iter().find(|entry| entry["name"] == "default")?;
            Some(default["template"].as_str()?.to_owned())
        }
        _ => None,
    }
}
