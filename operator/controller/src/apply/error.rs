//! Errors of applying actions. All are transient from the run's point of view: the run is requeued with backoff.

use scalequest_crds::v1alpha1::conditions::reason;

use scalequest_core::status::conditions::Degradation;

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

    /// Creates the error of a failed request.
    pub(super) fn of(verb: &'static str, object: &str, source: kube::Error) -> ApplyError {
        ApplyError::Request {
            verb,
            object: object.into(),
            source: Box::new(source),
        }
    }
}

/// Adds a rejected request to `rejections`, which the condition Degraded shows; the remaining actions are applied.
///
/// # Errors
/// A failure other than a rejection.
pub(super) fn record_rejection(
    verb: &'static str,
    kind: &str,
    name: &str,
    error: kube::Error,
    rejections: &mut Vec<Degradation>,
) -> Result<(), ApplyError> {
    match &error {
        kube::Error::Api(status) if status.code != 429 => {
            rejections.push(Degradation::new(
                reason::API_REQUEST_REJECTED,
                format!(
                    "the API server rejected the request to {verb} {kind} {name}: {}",
                    status.message
                ),
            ));
            Ok(())
        }
        _ => Err(ApplyError::of(verb, name, error)),
    }
}
