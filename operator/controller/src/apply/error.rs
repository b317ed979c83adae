//! Errors of applying actions. All are transient from the run's point of view: the run is requeued with backoff.

use crate::metrics::status_code;

/// Why actions were not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A cache is stale: an object exists already, or has changed since it was read.
    #[error("{0} has changed since it was read")]
    Conflict(String),
    /// The API server rejected a request.
    #[error("{0}")]
    Rejected(String),
    /// A request failed.
    #[error("cannot {verb} {object}")]
    Request {
        /// The verb.
        verb: &'static str,
        /// The object.
        object: String,
        /// The error of the client.
        #[source]
        source: Box<kube::Error>,
    },
}

impl ApplyError {
    /// Returns the value of the metrics' label `reason`.
    pub fn category(&self) -> &'static str {
        match self {
            ApplyError::Conflict(_) => "conflict",
            ApplyError::Rejected(_) => "rejected",
            ApplyError::Request { .. } => "request",
        }
    }

    /// Creates the error of a failed request. `NotFound` and `Conflict` mean that the decision came from a stale cache.
    pub(super) fn of(verb: &'static str, object: &str, source: kube::Error) -> ApplyError {
        match status_code(&source) {
            404 | 409 => ApplyError::Conflict(object.into()),
            _ => ApplyError::Request {
                verb,
                object: object.into(),
                source: Box::new(source),
            },
        }
    }
}
