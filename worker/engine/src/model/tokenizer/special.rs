//! Which tokens begin, end and pad a text, from whichever of a model's files says so.

use std::path::Path;

use candle_core::quantized::gguf_file::{Content, Value as GgufValue};
use serde_json::Value;

use super::TokenizerSource;
use crate::model::ModelError;

/// Beginning, end and padding tokens of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begins a text, where the model has one.
    pub bos: Option<u32>,
    /// End a text or a turn; the first is the one that training teaches. Never empty for a loaded model.
    pub end: Vec<u32>,
    /// Fills rows of unequal length, where the model has one.
    pub pad: Option<u32>,
}

/// End tokens by their text, for GGUF files whose metadata names one of several.
const KNOWN_END_TOKENS: [&str; 5] = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<｜end▁of▁sentence｜>",
];

pub(super) fn find(
    source: &TokenizerSource<'_>,
    tokenizer: &tokenizers::Tokenizer,
    path: &Path,
) -> Result<SpecialTokens, ModelError> {
    let mut special = match source {
        TokenizerSource::Gguf(content) => in_metadata(content, tokenizer),
        TokenizerSource::Directory(directory) => in_directory(directory, tokenizer)?,
    };
    let mut seen = std::collections::BTreeSet::new();
    special.end.retain(|id| seen.insert(*id));
    if special.end.is_empty() {
        let reason = "no end-of-sequence token: set `eos_token_id` in generation_config.json or config.json, or \
                      `eos_token` in tokenizer_config.json";
        return Err(ModelError::tokenizer(path, reason));
    }
    Ok(special)
}

fn in_metadata(content: &Content, tokenizer: &tokenizers::Tokenizer) -> SpecialTokens {
    let id = |field: &str| match content.metadata.get(&format!("tokenizer.ggml.{field}")) {
        Some(GgufValue::U32(id)) => Some(*id),
        Some(GgufValue::I32(id)) => u32::try_from(*id).ok(),
        Some(GgufValue::U64(id)) => u32::try_from(*id).ok(),
        _ => None,
    };
    let known = KNOWN_END_TOKENS
        .iter()
        .filter_map(|text| tokenizer.token_to_id(text));
    SpecialTokens {
        bos: id("bos_token_id"),
        end: [id("eos_token_id"), id("eot_token_id")]
            .into_iter()
            .flatten()
            .chain(known)
            .collect(),
        pad: id("padding_token_id"),
    }
}

fn in_directory(
    directory: &Path,
    tokenizer: &tokenizers::Tokenizer,
) -> Result<SpecialTokens, ModelError> {
    let mut special = SpecialTokens::default();
    let tokens = read_optional(&directory.join("tokenizer_config.json"))?;
    let by_text = |field: &str| {
        let entry = tokens.as_ref()?.get(field)?;
        let text = entry
            .as_str()
            .or_else(|| entry.get("content").and_then(Value::as_str))?;
        tokenizer.token_to_id(text)
    };
    // What the tokenizer calls its end comes first: a chat model's end of turn, which training teaches.
    special.end.extend(by_text("eos_token"));
    special.bos = by_text("bos_token");
    special.pad = by_text("pad_token");
    for file in ["generation_config.json", "config.json"] {
        let Some(config) = read_optional(&directory.join(file))? else {
            continue;
        };
        let ids = |field: &str| -> Vec<u32> {
            let entry = config.get(field);
            let many = entry
                .and_then(Value::as_array)
                .map_or(&[] as &[Value], Vec::as_slice);
            entry
                .into_iter()
                .chain(many)
                .filter_map(|id| id.as_u64()?.try_into().ok())
                .collect()
        };
        special.end.extend(ids("eos_token_id"));
        special.bos = special.bos.or_else(|| ids("bos_token_id").first().copied());
        special.pad = special.pad.or_else(|| ids("pad_token_id").first().copied());
    }
    Ok(special)
}

pub(in crate::model) fn read_optional(path: &Path) -> Result<Option<Value>, ModelError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ModelError::io("read", path, error)),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| ModelError::invalid(path, error))
}
