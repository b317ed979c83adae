//! Builds a tokenizer from SentencePiece's pieces (byte-pair encoding): those of a `tokenizer.model`, or of GGUF metadata. Spaces are
//! the letter `▁`, what no piece has is written byte by byte. The result is the tokenizer that transformers makes of such files.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};

use super::read_optional;
use crate::model::ModelError;

mod merges;
mod model_file;
mod wire;

/// What a piece is. The numbers are SentencePiece's `SentencePiece.Type` and GGUF's `token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    /// Has an id, and no text becomes it.
    Unused,
    Byte,
}

impl Kind {
    pub(super) fn of(number: i64) -> Option<Self> {
        use Kind::{Byte, Control, Normal, Unknown, Unused, UserDefined};
        let kinds = [Normal, Unknown, Control, UserDefined, Unused, Byte];
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        kinds.get(index).copied()
    }
}

/// One piece; its id is its place.
pub(super) struct Piece {
    pub(super) text: String,
    /// Of two joins the one with the higher score comes first.
    pub(super) score: f32,
    pub(super) kind: Kind,
}

/// All pieces, and what is done to a text before and after.
pub(super) struct Pieces {
    pub(super) pieces: Vec<Piece>,
    /// Whether what no piece has is written byte by byte; else it is the unknown token.
    pub(super) byte_fallback: bool,
    /// Whether a space is put before a text, so that its first word is spelt as any other.
    pub(super) space_before: bool,
    /// The token that begins a text.
    pub(super) beginning: Option<u32>,
    /// The token that ends a text.
    pub(super) end: Option<u32>,
}

/// What a model's other files say about its tokenizer.
pub(super) struct Rules {
    /// Whether the space is put before every stretch between special tokens (transformers' `legacy`), or before the text only.
    pub(super) space_before_each: bool,
    /// Whether whoever asks for special tokens gets the beginning, and the end.
    pub(super) adds: [bool; 2],
}

/// Builds the tokenizer of a directory with a `tokenizer.model`: `tokenizer_config.json` and `added_tokens.json`, where they are, say
/// which tokens were added or renamed, and which are put around a text.
///
/// # Errors
/// Names the file: truncated, not a SentencePiece model, of a kind that is not computed, or at odds with the others.
pub(super) fn from_directory(directory: &Path) -> Result<tokenizers::Tokenizer, ModelError> {
    let path = directory.join("tokenizer.model");
    let mut pieces = model_file::read(&path)?;
    let settings = read_optional(&directory.join("tokenizer_config.json"))?;
    let setting = |field: &str| settings.as_ref().and_then(|settings| settings.get(field));
    let flag = |field: &str, default| setting(field).and_then(Value::as_bool).unwrap_or(default);

    let mut added: Vec<(u32, Value)> = Vec::new();
    let wrong = |file: &str, what: &str| ModelError::invalid(&directory.join(file), what);
    if let Some(ids) = read_optional(&directory.join("added_tokens.json"))? {
        for (text, id) in ids.as_object().into_iter().flatten() {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let id = id.ok_or_else(|| {
                wrong(
                    "added_tokens.json",
                    &format!("the id of `{text}` is not a number"),
                )
            })?;
            added.push((id, json!({"content": text, "special": false})));
        }
    }
    let decoder = setting("added_tokens_decoder").and_then(Value::as_object);
    for (id, token) in decoder.into_iter().flatten() {
        let number = id.parse().map_err(|_| {
            let what = format!("`added_tokens_decoder` has `{id}`, which is not an id");
            wrong("tokenizer_config.json", &what)
        })?;
        added.push((number, token.clone()));
    }
    let id_of = |field: &str| {
        let entry = setting(field)?;
        let text = entry.as_str().or_else(|| entry["content"].as_str())?;
        let is_added = |(id, token): &(u32, Value)| (token["content"] == text).then_some(*id);
        let place = || pieces.pieces.iter().position(|piece| piece.text == text);
        added
            .iter()
            .find_map(is_added)
            .or_else(|| u32::try_from(place()?).ok())
    };
    (pieces.beginning, pieces.end) = (
        id_of("bos_token").or(pieces.beginning),
        id_of("eos_token").or(pieces.end),
    );
    let rules = Rules {
        space_before_each: flag("legacy", true),
        adds: [flag("add_bos_token", true), flag("add_eos_token", false)],
    };
    build(&pieces, &rules, &added).map_err(|reason| ModelError::tokenizer(&path, reason))
}

/// Builds the tokenizer. `added` are tokens with their ids: pieces that are called otherwise, or tokens behind the pieces.
///
/// # Errors
/// A piece is empty or there twice, or the parts do not make a tokenizer.
pub(super) fn build(
    pieces: &Pieces,
    rules: &Rules,
    added: &[(u32, Value)],
) -> Result<tokenizers::Tokenizer, String> {
    let is_added = |id: u32| added.iter().any(|(other, _)| *other == id);
    let merges: Vec<Value> = merges::merges(&pieces.pieces, is_added)?
        .into_iter()
        .map(|(left, right)| json!([left, right]))
        .collect();
    let mut vocabulary = Vocabulary::default();
    let mut unknown = None;
    for (id, piece) in (0u32..).zip(&pieces.pieces) {
        if piece.text.is_empty() {
            return Err(format!("piece {id} is empty"));
        }
        let special = match piece.kind {
            Kind::Control | Kind::Unknown => Some(true),
            Kind::UserDefined => Some(false),
            Kind::Normal | Kind::Unused | Kind::Byte => None,
        };
        if piece.kind == Kind::Unknown {
            unknown = Some(piece.text.as_str());
        }
        vocabulary.put(id, &piece.text, special)?;
    }
    for (id, token) in added {
        let text = token["content"].as_str().unwrap_or_default();
        if text.is_empty() {
            return Err(format!("the added token {id} has no text"));
        }
        let special = token["special"].as_bool().unwrap_or(false);
        vocabulary.put(*id, text, Some(special))?;
    }
    let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let (normalizer, pre_tokenizer) = match (pieces.space_before, rules.space_before_each) {
        (false, _) => (spaces, Value::Null),
        (true, true) => {
            let before = json!({"type": "Prepend", "prepend": "▁"});
            let both = json!({"type": "Sequence", "normalizers": [before, spaces]});
            (both, Value::Null)
        }
        (true, false) => {
            let first = json!({
                "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false,
            });
            (Value::Null, first)
        }
    };
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if pieces.space_before {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let whole = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": vocabulary.added(),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": vocabulary.around(pieces, rules),
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": pieces.byte_fallback,
            "ignore_merges": false, "vocab": vocabulary.ids, "merges": merges,
        },
    });
    serde_json::from_value(whole).map_err(|error| error.to_string())
}

/// Every token by text and by id.
#[derive(Default)]
struct Vocabulary {
    ids: HashMap<String, u32>,
    /// By id; of tokens matched whole also whether they are special.
    tokens: std::collections::BTreeMap<u32, (String, Option<bool>)>,
}

impl Vocabulary {
    /// Puts a token at an id, in the place of what it was called before.
    fn put(&mut self, id: u32, text: &str, special: Option<bool>) -> Result<(), String> {
        if let Some(other) = self.ids.get(text).filter(|other| **other != id) {
            return Err(format!("token `{text}` has two ids, {other} and {id}"));
        }
        // What is special as a piece stays so, whatever a list of added tokens leaves out.
        let before = self.tokens.remove(&id);
        let was = before.as_ref().and_then(|(_, special)| *special);
        if let Some((before, _)) = before {
            self.ids.remove(&before);
        }
        let special = special.map(|special| special || was == Some(true));
        self.ids.insert(text.to_owned(), id);
        self.tokens.insert(id, (text.to_owned(), special));
        Ok(())
    }

    /// The tokens that are matched whole. None is normalised, since that would put a space before it.
    fn added(&self) -> Vec<Value> {
        let entry = |(id, (text, special)): (&u32, &(String, Option<bool>))| {
            Some(json!({
                "id": id, "content": text, "special": (*special)?,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            }))
        };
        self.tokens.iter().filter_map(entry).collect()
    }

    /// The rule by which whoever asks for special tokens gets the beginning before a text and the end behind it.
    fn around(&self, pieces: &Pieces, rules: &Rules) -> Value {
        let [beginning, end] = [pieces.beginning, pieces.end].map(|id| {
            let id = id?;
            Some((id, self.tokens.get(&id)?.0.as_str()))
        });
        let beginning = beginning.filter(|_| rules.adds[0]);
        let end = end.filter(|_| rules.adds[1]);
        if beginning.is_none() && end.is_none() {
            return Value::Null;
        }
        let token = |token: Option<(u32, &str)>, part: u32| {
            token.map(|(_, text)| json!({"SpecialToken": {"id": text, "type_id": part}}))
        };
        let text = |name: &str, part: u32| {
            let sequence = json!({"Sequence": {"id": name, "type_id": part}});
            let whole = [token(beginning, part), Some(sequence), token(end, part)];
            whole.into_iter().flatten().collect::<Vec<_>>()
        };
        let named = [beginning, end].into_iter().flatten();
        let named: serde_json::Map<_, _> = named
            .map(|(id, text)| {
                let entry = json!({"id": text, "ids": [id], "tokens": [text]});
                (text.to_owned(), entry)
            })
            .collect();
        let pair = [text("A", 0), text("B", 1)].concat();
        json!({
            "type": "TemplateProcessing",
            "single": text("A", 0),
            "pair": pair,
            "special_tokens": named,
        })
    }
}
