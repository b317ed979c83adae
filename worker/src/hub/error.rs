//! Why a model cannot be fetched, in the kinds by which others act.

use std::io;
use std::path::Path;

use crate::storage::store::StoreError;

/// Why a model cannot be fetched; what was fetched so far stays for the next attempt.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A stop was asked for.
    #[error("stopped")]
    Stopped,
    /// Only a person can mend it: it is not there, may not be read, or is no model.
    #[error("{0}")]
    Source(String),
    /// There is no room for it.
    #[error("{0}")]
    Full(String),
    /// The network gives nothing for as long as there is patience.
    #[error("{0}")]
    Unavailable(String),
    /// Anything else of the world: a disk, or bytes that are damaged again and again.
    #[error("{0}")]
    World(String),
}

impl FetchError {
    /// The error of a file operation on `path`.
    pub(super) fn io(doing: &'static str, path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                FetchError::Source(format!(
                    "cannot {doing} {}: {error}: set SCALEQUEST_CACHE to a folder that may be written to",
                    path.display()
                ))
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FetchError::Full(format!(
                "the disk is full: cannot {doing} {}: make room there, what was fetched stays and the rest follows",
                path.display()
            )),
            _ => FetchError::World(format!("cannot {doing} {}: {error}", path.display())),
        }
    }
}

impl From<StoreError> for FetchError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Full { .. } => FetchError::Full(message),
            error if error.is_permanent() => FetchError::Source(message),
            _ => FetchError::Unavailable(message),
        }
    }
}
