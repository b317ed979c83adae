//! Why a step was not carried out. All of it is the world's: it is tried again.

use scalequest_crds::v1alpha1::conditions::reason;

use scalequest_core::status::conditions::Trouble;

/// Why a step was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A cache is behind: an object is there already, or has changed since it was read.
    #[error("{0} is not as it was last seen: looking again")]
    Behind(String),
    /// The API server does not let the operator do it.
    #[error("{0}")]
    Refused(String),
    /// A request failed.
    #[error("cannot {doing} {object}")]
    Request {
        /// What was tried.
        doing: &'static str,
        /// With which object.
        object: String,
        /// What came of it.
        #[source]
        source: Box<kube::Error>,
    },
}

impl ApplyError {
    /// A word for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            ApplyError::Behind(_) => "behind",
            ApplyError::Refused(_) => "refused",
            ApplyError::Request { .. } => "request",
        }
    }

    /// Of a request that failed.
    pub(super) fn of(doing: &'static str, object: &str, source: kube::Error) -> ApplyError {
        ApplyError::Request {
            doing,
            object: object.into(),
            source: Box::new(source),
        }
    }
}

/// What the API server said no to is shown to the person who can change it; the rest of the step goes on.
pub(super) fn refused(
    doing: &'static str,
    kind: &str,
    name: &str,
    error: kube::Error,
    refusals: &mut Vec<Trouble>,
) -> Result<(), ApplyError> {
    match &error {
        kube::Error::Api(status) if status.code != 429 => {
            refusals.push(Trouble::new(
                reason::API_REQUEST_REJECTED,
                format!(
                    "the API server refused to {doing} {kind} {name}: {}",
                    status.message
                ),
            ));
            Ok(())
        }
        _ => Err(ApplyError::of(doing, name, error)),
    }
}
