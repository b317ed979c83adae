//! Why a model cannot be fetched, by the classes that callers distinguish.

use std::io;
use std::path::Path;

use scalequest_crds::protocol::cause::Cause;

use crate::storage::store::StoreError;

/// Why a model cannot be fetched. A later attempt resumes the download.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A stop was requested.
    #[error("stopped")]
    Stopped,
    /// No retry helps: the location is invalid, or the files are not a model.
    #[error("{0}")]
    Permanent(String),
    /// The server gave no response before the retry budget was exhausted.
    #[error("{0}")]
    Unavailable(String),
    /// Any other failure of a hub, a store, a disk or an account: a retry succeeds once that is corrected.
    #[error("{message}")]
    Transient {
        /// What.
        cause: Cause,
        /// What failed, with what to do.
        message: String,
    },
}

impl FetchError {
    /// Creates a transient error.
    pub(super) fn transient(cause: Cause, message: String) -> Self {
        FetchError::Transient { cause, message }
    }

    /// Creates the error of a hub, a store or a disk that answers, but wrongly.
    pub(super) fn defective(message: String) -> Self {
        FetchError::transient(Cause::StoreUnavailable, message)
    }

    /// Classifies the error of a file operation on `path`.
    pub(super) fn from_io(doing: &'static str, path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                FetchError::transient(
                    Cause::AccessDenied,
                    format!(
                        "cannot {doing} {}: {error}: set SCALEQUEST_CACHE to a writable folder",
                        path.display()
                    ),
                )
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FetchError::transient(
                Cause::DiskFull,
                format!(
                    "the disk is full: cannot {doing} {}: free some space; the download then resumes",
                    path.display()
                ),
            ),
            _ => FetchError::defective(format!("cannot {doing} {}: {error}", path.display())),
        }
    }
}

impl From<StoreError> for FetchError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error.cause() {
            Some(Cause::StoreUnavailable) => FetchError::Unavailable(message),
            Some(cause) => FetchError::transient(cause, message),
            None => FetchError::Permanent(message),
        }
    }
}
