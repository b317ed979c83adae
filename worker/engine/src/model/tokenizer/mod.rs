//! Text to tokens and back, with the model's own vocabulary and splitting rules, and the tokens that
//! end a turn. It adds no token by itself: beginnings and ends are the chat template's business.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use candle_core::quantized::gguf_file::Content;

use super::ModelError;

mod gguf;
mod sentencepiece;
mod special;

pub use special::SpecialTokens;
pub(super) use special::read_optional;

/// Where a tokenizer comes from.
pub(super) enum TokenizerSource<'a> {
    /// `tokenizer.json`, or else `tokenizer.model`, and its companions in a directory.
    Directory(&'a Path),
    /// The metadata of a GGUF file.
    Gguf(&'a Content),
}

/// A model's tokenizer.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    /// The same, but blind to special tokens; made when first asked for.
    plain: Arc<OnceLock<tokenizers::Tokenizer>>,
    special: SpecialTokens,
    /// Control tokens by id, with their text.
    control: BTreeMap<u32, String>,
    path: PathBuf,
}

impl Tokenizer {
    /// Loads a tokenizer and checks that every token has a row in an embedding of `vocab_size` rows.
    pub(super) fn load(
        source: TokenizerSource<'_>,
        path: &Path,
        vocab_size: usize,
    ) -> Result<Self, ModelError> {
        let inner = match &source {
            TokenizerSource::Gguf(content) => gguf::build(content, path)?,
            TokenizerSource::Directory(directory) => {
                let file = directory.join("tokenizer.json");
                if file.is_file() {
                    tokenizers::Tokenizer::from_file(&file).map_err(|error| {
                        ModelError::tokenizer(path, format!("tokenizer.json is not valid: {error}"))
                    })?
                } else if directory.join("tokenizer.model").is_file() {
                    sentencepiece::from_directory(directory)?
                } else {
                    return Err(ModelError::tokenizer(
                        path,
                        "the file tokenizer.json is missing, and so is tokenizer.model",
                    ));
                }
            }
        };
        Self::from_inner(inner, path, vocab_size, |tokenizer| {
            special::find(&source, tokenizer, path)
        })
    }

    /// Reads a `tokenizer.json` by itself, with the end-of-sequence tokens given by their text.
    ///
    /// # Errors
    /// The file cannot be read, or a token is not in it.
    pub fn from_file(file: &Path, end_tokens: &[&str]) -> Result<Self, ModelError> {
        let inner = tokenizers::Tokenizer::from_file(file)
            .map_err(|error| ModelError::tokenizer(file, error))?;
        Self::from_inner(inner, file, u32::MAX as usize, |tokenizer| {
            let id = |text: &&str| {
                tokenizer
                    .token_to_id(text)
                    .ok_or_else(|| ModelError::tokenizer(file, format!("has no token `{text}`")))
            };
            let end = end_tokens.iter().map(id).collect::<Result<Vec<u32>, _>>()?;
            Ok(SpecialTokens {
                bos: None,
                end,
                pad: None,
            })
        })
    }

    fn from_inner(
        mut inner: tokenizers::Tokenizer,
        path: &Path,
        vocab_size: usize,
        find_special: impl FnOnce(&tokenizers::Tokenizer) -> Result<SpecialTokens, ModelError>,
    ) -> Result<Self, ModelError> {
        // A saved padding or truncation rule belongs to whoever trained the tokenizer, not to this use.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| ModelError::tokenizer(path, error))?;
        let largest = inner.get_vocab(true).into_iter().max_by_key(|(_, id)| *id);
        if let Some((token, id)) = largest
            && id as usize >= vocab_size
        {
            let reason = format!(
                "token `{token}` has id {id}, but the model's embedding has {vocab_size} rows; \
                 the tokenizer belongs to another model"
            );
            return Err(ModelError::tokenizer(path, reason));
        }
        let special = find_special(&inner)?;
        if let Some(id) = special
            .end
            .iter()
            .chain(&special.bos)
            .find(|id| **id as usize >= vocab_size)
        {
            let reason =
                format!("special token {id} lies beyond the embedding's {vocab_size} rows");
            return Err(ModelError::tokenizer(path, reason));
        }
        let control = inner
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special)
            .map(|(id, token)| (id, token.content))
            .collect();
        Ok(Self {
            inner: Arc::new(inner),
            plain: Arc::default(),
            special,
            control,
            path: path.to_owned(),
        })
    }

    /// The tokens of a text. Special tokens written in it become those tokens; none is added.
    ///
    /// # Errors
    /// The tokenizer's model cannot represent the text (it has no unknown token).
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|error| ModelError::tokenizer(&self.path, error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The tokens of a text by a user or a model: special tokens written in it stay plain text, so that
    /// nobody's question can end a turn.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let plain = self.plain.get_or_init(|| {
            let mut plain = tokenizers::Tokenizer::clone(&self.inner);
            plain.set_encode_special_tokens(true);
            plain
        });
        let encoding = plain
            .encode_fast(text, false)
            .map_err(|error| ModelError::tokenizer(&self.path, error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// `text` as a server wants it that puts this tokenizer's own special tokens before every prompt: without those at its beginning.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn without_added<'t>(&self, text: &'t str) -> Result<&'t str, ModelError> {
        let added = self
            .inner
            .encode_fast("", true)
            .map_err(|error| ModelError::tokenizer(&self.path, error))?;
        let mut rest = text;
        for token in added.get_ids() {
            let written = self.token_text(*token).unwrap_or_default();
            rest = rest.strip_prefix(written.as_str()).unwrap_or(rest);
        }
        Ok(rest)
    }

    /// The text of tokens, without special tokens. Bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// The tokenizer's decoder fails.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, ModelError> {
        self.inner
            .decode(tokens, true)
            .map_err(|error| ModelError::tokenizer(&self.path, error))
    }

    /// The text of tokens, special tokens included.
    ///
    /// # Errors
    /// The tokenizer's decoder fails.
    pub fn decode_with_special(&self, tokens: &[u32]) -> Result<String, ModelError> {
        self.inner
            .decode(tokens, false)
            .map_err(|error| ModelError::tokenizer(&self.path, error))
    }

    /// The id of a token by its text.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The text of a token as the vocabulary writes it.
    pub fn token_text(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Beginning, end and padding tokens.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// The tokens that end a turn or a text; generation stops at any of them.
    pub fn end_tokens(&self) -> &[u32] {
        &self.special.end
    }

    /// All control tokens by id, with their text.
    pub fn control_tokens(&self) -> &BTreeMap<u32, String> {
        &self.control
    }

    /// The tokenizer as the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// It cannot be serialised.
    pub fn to_json(&self) -> Result<String, ModelError> {
        self.inner
            .to_string(true)
            .map_err(|error| ModelError::tokenizer(&self.path, error))
    }
}
