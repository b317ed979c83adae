//! What can go wrong while a model is served.

use crate::model::ModelError;

/// A request that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    /// The model cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A tensor has a value that is not a number, or infinite: the weights are damaged.
    #[error(
        "layer {layer} gives a value that is not finite for {row}; the model's weights are damaged"
    )]
    NotFinite {
        /// The first layer that did; the number of layers stands for the head.
        layer: usize,
        /// Which row: a sample, or a place in the request.
        row: String,
    },
    /// A request asks for something impossible.
    #[error("{row}: {reason}")]
    Request {
        /// Which row.
        row: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The caller asked to stop.
    #[error("stopped on request")]
    Cancelled,
}

impl InferenceError {
    /// The same with a row, known by its place in a step, called as `named` does.
    pub(super) fn with_rows(self, named: impl Fn(usize) -> String) -> InferenceError {
        let rename = |row: String| match row.strip_prefix("row ").map(str::parse::<usize>) {
            Some(Ok(place)) => named(place),
            _ => row,
        };
        match self {
            Self::NotFinite { layer, row } => Self::NotFinite {
                layer,
                row: rename(row),
            },
            Self::Request { row, reason } => Self::Request {
                row: rename(row),
                reason,
            },
            other => other,
        }
    }

    /// A short name for metrics and logs, from a closed set.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Model(error) => error.category(),
            Self::NotFinite { .. } => "not_finite",
            Self::Request { .. } => "request",
            Self::Cancelled => "cancelled",
        }
    }
}
