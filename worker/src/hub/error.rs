//! Why a model cannot be fetched, by the classes that callers distinguish.

use std::io;
use std::path::Path;

use crate::storage::store::StoreError;

/// Why a model cannot be fetched. A later attempt resumes the download.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A stop was requested.
    #[error("stopped")]
    Stopped,
    /// No retry helps: the model does not exist, access is denied, or the files are not a model.
    #[error("{0}")]
    Permanent(String),
    /// The disk is full.
    #[error("{0}")]
    DiskFull(String),
    /// The server gave no response before the retry budget was exhausted.
    #[error("{0}")]
    Unavailable(String),
    /// Any other transient failure: of a disk, or bytes that arrive corrupt repeatedly.
    #[error("{0}")]
    Transient(String),
}

impl FetchError {
    /// Classifies the error of a file operation on `path`.
    pub(super) fn from_io(doing: &'static str, path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                FetchError::Permanent(format!(
                    "cannot {doing} {}: {error}: set SCALEQUEST_CACHE to a writable folder",
                    path.display()
                ))
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                FetchError::DiskFull(format!(
                    "the disk is full: cannot {doing} {}: free some space; the download then resumes",
                    path.display()
                ))
            }
            _ => FetchError::Transient(format!("cannot {doing} {}: {error}", path.display())),
        }
    }
}

impl From<StoreError> for FetchError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::DiskFull { .. } => FetchError::DiskFull(message),
            error if error.is_permanent() => FetchError::Permanent(message),
            _ => FetchError::Unavailable(message),
        }
    }
}
