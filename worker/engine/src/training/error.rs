//! What can go wrong while training, as one closed set. It knows no stage and no exit code: whoever
//! drives a training decides what an error means for the task.

use std::path::PathBuf;

use crate::model::ModelError;

/// A training cannot start, continue or be saved.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// The loss or the gradient is not a number.
    #[error(
        "{what} is {value} at step {step} of {steps}: lower the learning rate, or look for damaged weights"
    )]
    NotFinite {
        /// `the loss` or `the gradient norm`.
        what: &'static str,
        /// NaN or an infinity.
        value: f64,
        /// The step, from 1.
        step: u64,
        /// Steps in all.
        steps: u64,
    },
    /// There are no examples.
    #[error("no examples to train on: {0}")]
    NoExamples(String),
    /// A setting that cannot work.
    #[error("`{field}` is {value}: {reason}")]
    Setting {
        /// The setting's name in the task.
        field: &'static str,
        /// What it is.
        value: String,
        /// What is allowed.
        reason: String,
    },
    /// A trained parameter has no gradient: the graph is cut.
    #[error("parameter `{0}` got no gradient")]
    NoGradient(String),
    /// A training checkpoint that does not belong to this training, or is damaged.
    #[error("training checkpoint {}: {reason}; delete it to train from the start", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The callback could not save a checkpoint.
    #[error("cannot save the training checkpoint of step {step}: {source}")]
    SaveCheckpoint {
        /// Steps done.
        step: u64,
        /// The callback's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The model refuses.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A tensor operation fails.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl TrainingError {
    /// A short name for metrics and logs, from a closed set.
    pub fn category(&self) -> &'static str {
        match self {
            Self::NotFinite { .. } => "training_not_finite",
            Self::NoExamples(_) => "training_no_examples",
            Self::Setting { .. } => "training_setting",
            Self::NoGradient(_) => "training_no_gradient",
            Self::Checkpoint { .. } => "training_checkpoint",
            Self::Io { .. } | Self::SaveCheckpoint { .. } => "training_io",
            Self::Model(error) => error.category(),
            Self::Candle(_) => "arithmetic",
        }
    }

    /// Whether trying again can never help.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::NotFinite { .. }
            | Self::NoExamples(_)
            | Self::Setting { .. }
            | Self::NoGradient(_) => true,
            Self::Model(error) => error.is_permanent(),
            Self::Checkpoint { .. }
            | Self::Io { .. }
            | Self::SaveCheckpoint { .. }
            | Self::Candle(_) => false,
        }
    }
}
