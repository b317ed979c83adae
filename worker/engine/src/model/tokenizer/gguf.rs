//! Rebuilds a tokenizer from GGUF metadata: SentencePiece's (`llama`), or byte-level BPE (`gpt2`) with the splitting rule that
//! `tokenizer.ggml.pre` names: the wrong rule gives valid but wrong tokens, so an unknown name is refused.

use std::path::Path;

use candle_core::quantized::gguf_file::{Content, Value};
use serde_json::json;

use super::sentencepiece::{self, Kind, Piece, Pieces, Rules};
use crate::model::ModelError;

/// `tokenizer.ggml.token_type` of tokens that are control sequences.
const CONTROL: i64 = 3;
/// Tokens added by whoever made the model: matched whole, but ordinary text.
const USER_DEFINED: i64 = 4;
/// Rows of the embedding that no token uses.
const UNUSED: i64 = 5;

/// Words, single digits, punctuation with following newlines, whitespace: Qwen2's rule.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with digits in groups of up to three: Llama 3's rule.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// What is done to a text before the merges.
struct Splitting {
    normalizer: serde_json::Value,
    pre_tokenizer: serde_json::Value,
    /// Whether a word that is itself a token is taken whole, merges or not.
    ignore_merges: bool,
}

pub(super) fn build(content: &Content, path: &Path) -> Result<tokenizers::Tokenizer, ModelError> {
    let fields = Fields { content, path };
    let model = fields.string("tokenizer.ggml.model")?;
    match model {
        "gpt2" => {}
        "llama" => return from_pieces(&fields),
        _ => {
            let reason = format!(
                "GGUF tokenizer model `{model}` is not supported (supported are gpt2, byte-level BPE, and llama, \
                 SentencePiece); use a directory with tokenizer.json"
            );
            return Err(ModelError::tokenizer(path, reason));
        }
    }
    let splitting = splitting(
        fields.string("tokenizer.ggml.pre").unwrap_or("default"),
        path,
    )?;
    let tokens = fields.strings("tokenizer.ggml.tokens")?;
    let types = fields.integers("tokenizer.ggml.token_type")?;
    if types.len() != tokens.len() {
        let reason = format!("{} token types for {} tokens", types.len(), tokens.len());
        return Err(ModelError::tokenizer(path, reason));
    }
    let mut merges = Vec::new();
    for merge in fields.strings("tokenizer.ggml.merges")? {
        let pair = merge.split_once(' ').ok_or_else(|| {
            ModelError::tokenizer(path, format!("merge `{merge}` is not two tokens"))
        })?;
        merges.push(json!([pair.0, pair.1]));
    }

    let mut vocab = serde_json::Map::with_capacity(tokens.len());
    let mut added = Vec::new();
    for (id, (token, kind)) in tokens.iter().zip(&types).enumerate() {
        if *kind == UNUSED {
            continue;
        }
        vocab.insert((*token).to_owned(), json!(id));
        if matches!(*kind, CONTROL | USER_DEFINED) {
            added.push(json!({
                "id": id, "content": token, "special": *kind == CONTROL,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            }));
        }
    }
    let byte_level = byte_level(false);
    let whole = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": splitting.normalizer,
        "pre_tokenizer": splitting.pre_tokenizer,
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": splitting.ignore_merges, "vocab": vocab, "merges": merges,
        },
    });
    serde_json::from_value(whole).map_err(|error| ModelError::tokenizer(path, error))
}

/// SentencePiece's pieces, as llama.cpp's converter copies them.
fn from_pieces(fields: &Fields<'_>) -> Result<tokenizers::Tokenizer, ModelError> {
    let texts = fields.strings("tokenizer.ggml.tokens")?;
    let scores = fields.numbers("tokenizer.ggml.scores")?;
    let types = fields.integers("tokenizer.ggml.token_type")?;
    let refuse = |reason: String| ModelError::tokenizer(fields.path, reason);
    if [scores.len(), types.len()] != [texts.len(); 2] {
        return Err(refuse(format!(
            "{} scores and {} types for {} tokens",
            scores.len(),
            types.len(),
            texts.len()
        )));
    }
    let mut pieces = Vec::with_capacity(texts.len());
    for ((text, score), number) in texts.into_iter().zip(scores).zip(types) {
        let kind = Kind::of(number)
            .ok_or_else(|| refuse(format!("token `{text}` has the unknown type {number}")))?;
        pieces.push(Piece {
            text: text.to_owned(),
            score,
            kind,
        });
    }
    let flag = |name: &str, default| match fields.content.metadata.get(name) {
        Some(Value::Bool(flag)) => *flag,
        _ => default,
    };
    let id = |name: &str| match fields.content.metadata.get(name) {
        Some(Value::U32(id)) => Some(*id),
        _ => None,
    };
    let rules = Rules {
        space_before_each: true,
        adds: [
            flag("tokenizer.ggml.add_bos_token", true),
            flag("tokenizer.ggml.add_eos_token", false),
        ],
    };
    let pieces = Pieces {
        byte_fallback: pieces.iter().any(|piece| piece.kind == Kind::Byte),
        space_before: flag("tokenizer.ggml.add_space_prefix", true),
        beginning: id("tokenizer.ggml.bos_token_id"),
        end: id("tokenizer.ggml.eos_token_id"),
        pieces,
    };
    sentencepiece::build(&pieces, &rules, &[]).map_err(refuse)
}

fn splitting(name: &str, path: &Path) -> Result<Splitting, ModelError> {
    let by_regex = |regex: &str| {
        let split = json!({
            "type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false,
        });
        json!({"type": "Sequence", "pretokenizers": [split, byte_level(false)]})
    };
    let plain = |pre_tokenizer| Splitting {
        normalizer: json!(null),
        pre_tokenizer,
        ignore_merges: false,
    };
    match name {
        "qwen2" => Ok(Splitting {
            normalizer: json!({"type": "NFC"}),
            ..plain(by_regex(QWEN2))
        }),
        "smollm" => {
            let digits = json!({"type": "Digits", "individual_digits": true});
            Ok(plain(
                json!({"type": "Sequence", "pretokenizers": [digits, byte_level(true)]}),
            ))
        }
        "llama-bpe" | "llama3" => Ok(Splitting {
            ignore_merges: true,
            ..plain(by_regex(LLAMA3))
        }),
        "gpt-2" | "default" => Ok(plain(byte_level(true))),
        other => Err(ModelError::tokenizer(
            path,
            format!(
                "the splitting rule `{other}` (tokenizer.ggml.pre) is not known; known are qwen2, smollm, \
                 llama-bpe and gpt-2; use a directory with tokenizer.json"
            ),
        )),
    }
}

fn byte_level(use_regex: bool) -> serde_json::Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": use_regex})
}

struct Fields<'a> {
    content: &'a Content,
    path: &'a Path,
}

impl<'a> Fields<'a> {
    fn get(&self, field: &str) -> Result<&'a Value, ModelError> {
        self.content.metadata.get(field).ok_or_else(|| {
            ModelError::tokenizer(self.path, format!("metadata `{field}` is missing"))
        })
    }

    fn wrong(&self, field: &str, expected: &str) -> ModelError {
        ModelError::tokenizer(self.path, format!("metadata `{field}` is not {expected}"))
    }

    fn string(&self, field: &str) -> Result<&'a str, ModelError> {
        match self.get(field)? {
            Value::String(text) => Ok(text),
            _ => Err(self.wrong(field, "a string")),
        }
    }

    fn array(&self, field: &str) -> Result<&'a [Value], ModelError> {
        match self.get(field)? {
            Value::Array(values) => Ok(values),
            _ => Err(self.wrong(field, "an array")),
        }
    }

    fn strings(&self, field: &str) -> Result<Vec<&'a str>, ModelError> {
        let text = |value: &'a Value| match value {
            Value::String(text) => Ok(text.as_str()),
            _ => Err(self.wrong(field, "an array of strings")),
        };
        self.array(field)?.iter().map(text).collect()
    }

    fn numbers(&self, field: &str) -> Result<Vec<f32>, ModelError> {
        let number = |value: &Value| match value {
            Value::F32(n) => Ok(*n),
            _ => Err(self.wrong(field, "an array of numbers")),
        };
        self.array(field)?.iter().map(number).collect()
    }

    fn integers(&self, field: &str) -> Result<Vec<i64>, ModelError> {
        let integer = |value: &Value| match value {
            Value::I32(n) => Ok(i64::from(*n)),
            Value::U32(n) => Ok(i64::from(*n)),
            _ => Err(self.wrong(field, "an array of integers")),
        };
        self.array(field)?.iter().map(integer).collect()
    }
}
