//! A model: its checkpoint, configuration, weights, tokenizer and chat template, and the one definition of the
//! decoder that both serves and trains. It knows no stage, no store and no dataset.

pub mod config;

pub mod weights;

pub mod checkpoint;

pub mod tokenizer;

pub mod chat_template;

pub mod decoder;

mod digest;
mod error;

pub use chat_template::{ChatMessage, ChatTemplate, QuestionPrefix};
pub use checkpoint::Checkpoint;
pub use config::{Architecture, Head, ModelConfig};
pub use decoder::Decoder;
pub use error::ModelError;
pub use tokenizer::Tokenizer;

/// A model's parameters by checkpoint key.
pub type Parameters = std::collections::BTreeMap<String, candle_core::Tensor>;
