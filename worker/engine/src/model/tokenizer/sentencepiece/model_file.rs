//! Reads a `tokenizer.model`: SentencePiece's message `ModelProto`, of which a tokenizer needs the pieces, the kind of model and
//! what is done to spaces. Numbers of fields are those of SentencePiece's `sentencepiece_model.proto`.

use std::path::Path;

use super::wire::{Fields, Value};
use super::{Kind, Piece, Pieces};
use crate::model::ModelError;

/// `TrainerSpec.ModelType` of byte-pair encoding.
const BPE: u64 = 2;

/// Reads the file.
///
/// # Errors
/// It is truncated or no such message; or it asks for what is not computed: another kind of model, a normalisation.
pub(super) fn read(path: &Path) -> Result<Pieces, ModelError> {
    let bytes = std::fs::read(path).map_err(|error| ModelError::io("read", path, error))?;
    parse(&bytes).map_err(|reason| ModelError::tokenizer(path, reason))
}

fn parse(bytes: &[u8]) -> Result<Pieces, String> {
    let damaged = |what: String| format!("truncated, or not a SentencePiece model: {what}");
    let mut pieces = Vec::new();
    let (mut trainer, mut normalizer) = (None, None);
    for field in Fields::of(bytes) {
        match field.map_err(damaged)? {
            (1, Value::Bytes(message)) => {
                let piece = piece(message);
                pieces.push(
                    piece.map_err(|what| damaged(format!("piece {}: {what}", pieces.len())))?,
                );
            }
            (2, Value::Bytes(message)) => trainer = Some(Trainer::read(message).map_err(damaged)?),
            (3, Value::Bytes(message)) => {
                normalizer = Some(Normalizer::read(message).map_err(damaged)?);
            }
            _ => {}
        }
    }
    // Both follow the pieces, so a file cut between two pieces lacks them.
    let trainer = trainer.ok_or_else(|| damaged("`trainer_spec` is missing".into()))?;
    let normalizer = normalizer.ok_or_else(|| damaged("`normalizer_spec` is missing".into()))?;
    trainer.check()?;
    normalizer.check()?;
    let control = |id: Option<u32>| id.filter(|id| (*id as usize) < pieces.len());
    Ok(Pieces {
        byte_fallback: trainer.byte_fallback,
        space_before: normalizer.add_dummy_prefix,
        beginning: control(trainer.beginning),
        end: control(trainer.end),
        pieces,
    })
}

fn piece(message: &[u8]) -> Result<Piece, String> {
    let mut piece = Piece {
        text: String::new(),
        score: 0.0,
        kind: Kind::Normal,
    };
    for field in Fields::of(message) {
        match field? {
            (1, Value::Bytes(text)) => {
                let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
                text.clone_into(&mut piece.text);
            }
            (2, Value::Four(score)) => piece.score = f32::from_le_bytes(score),
            (3, Value::Integer(kind)) => {
                let number = i64::try_from(kind).unwrap_or(-1);
                piece.kind = Kind::of(number).ok_or_else(|| format!("type {kind} is unknown"))?;
            }
            _ => {}
        }
    }
    Ok(piece)
}

/// What of `TrainerSpec` decides how text is read.
struct Trainer {
    kind: u64,
    whitespace_as_suffix: bool,
    byte_fallback: bool,
    beginning: Option<u32>,
    end: Option<u32>,
}

impl Trainer {
    fn read(message: &[u8]) -> Result<Self, String> {
        let mut trainer = Self {
            kind: 1,
            whitespace_as_suffix: false,
            byte_fallback: false,
            beginning: Some(1),
            end: Some(2),
        };
        // A negative number, which says that there is no such token, is a large one here.
        let id = |number: u64| u32::try_from(number).ok();
        for field in Fields::of(message) {
            match field? {
                (3, Value::Integer(kind)) => trainer.kind = kind,
                (24, value) => trainer.whitespace_as_suffix = value.is_true(),
                (35, value) => trainer.byte_fallback = value.is_true(),
                (41, Value::Integer(number)) => trainer.beginning = id(number),
                (42, Value::Integer(number)) => trainer.end = id(number),
                _ => {}
            }
        }
        Ok(trainer)
    }

    fn check(&self) -> Result<(), String> {
        if self.kind != BPE {
            let names = ["", "unigram", "bpe", "word", "char"];
            let kind = usize::try_from(self.kind)
                .ok()
                .and_then(|kind| names.get(kind));
            return Err(format!(
                "`model_type` is {}; supported is bpe",
                kind.copied().unwrap_or("unknown")
            ));
        }
        if self.whitespace_as_suffix {
            return Err("`treat_whitespace_as_suffix` is true, which is not supported".into());
        }
        Ok(())
    }
}

/// What of `NormalizerSpec` decides how text is read.
struct Normalizer {
    name: String,
    has_table: bool,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
}

impl Normalizer {
    fn read(message: &[u8]) -> Result<Self, String> {
        let mut normalizer = Self {
            name: String::new(),
            has_table: false,
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
        };
        for field in Fields::of(message) {
            match field? {
                (1, Value::Bytes(name)) => {
                    normalizer.name = String::from_utf8_lossy(name).into_owned();
                }
                (2, Value::Bytes(table)) => normalizer.has_table = !table.is_empty(),
                (3, value) => normalizer.add_dummy_prefix = value.is_true(),
                (4, value) => normalizer.remove_extra_whitespaces = value.is_true(),
                (5, value) => normalizer.escape_whitespaces = value.is_true(),
                _ => {}
            }
        }
        Ok(normalizer)
    }

    /// The models that we serve keep text as it is; a rule that changes it would need the rule's table.
    fn check(&self) -> Result<(), String> {
        if self.has_table {
            return Err(format!(
                "text is normalised by `{}`; supported is identity; use a model with tokenizer.json",
                self.name
            ));
        }
        for (field, value, supported) in [
            (
                "remove_extra_whitespaces",
                self.remove_extra_whitespaces,
                false,
            ),
            ("escape_whitespaces", self.escape_whitespaces, true),
        ] {
            if value != supported {
                return Err(format!(
                    "`{field}` is {value}, which is not supported; use a model with tokenizer.json"
                ));
            }
        }
        Ok(())
    }
}
