//! What can be wrong with a model: every variant names the file, and the tensor or field where
//! there is one, and says what to do. It knows no stage and no exit code.

use std::path::{Path, PathBuf};

/// A model that cannot be opened, loaded, rendered or saved.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted: "read", "write", "map".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file exists but does not say what it must.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The model is of a kind that this engine does not compute.
    #[error("{}: {reason}", path.display())]
    Unsupported {
        /// The file that says so.
        path: PathBuf,
        /// What was found and what is supported.
        reason: String,
    },
    /// One tensor is missing, truncated, of the wrong shape, or holds unusable values.
    #[error("tensor `{name}` in {}: {reason}", path.display())]
    Tensor {
        /// The checkpoint key.
        name: String,
        /// The file in which it is, or was expected.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The tokenizer cannot be built, or does not fit the model.
    #[error("tokenizer of {}: {reason}", path.display())]
    Tokenizer {
        /// The model.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The chat template is missing or does not render.
    #[error("chat template of {}: {reason}", path.display())]
    ChatTemplate {
        /// The model.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl ModelError {
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn invalid(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Invalid {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn unsupported(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Unsupported {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn tensor(name: &str, path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Tensor {
            name: name.to_owned(),
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn tokenizer(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Tokenizer {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn chat_template(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::ChatTemplate {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// A short name for metrics and logs, from a closed set.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Io { .. } => "model_io",
            Self::Invalid { .. } => "model_invalid",
            Self::Unsupported { .. } => "model_unsupported",
            Self::Tensor { .. } => "model_tensor",
            Self::Tokenizer { .. } => "tokenizer",
            Self::ChatTemplate { .. } => "chat_template",
            Self::Candle(_) => "arithmetic",
        }
    }

    /// Whether trying again can never help: the files themselves have to change.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            Self::Candle(_) => false,
            _ => true,
        }
    }
}
