//! Errors of a store, with the object, the cause and what to do. It knows nothing of stages.

use std::error::Error;
use std::io;
use std::path::Path;

use object_store::Error as ObjectError;
use scalequest_crds::protocol::cause::Cause;

use super::retry::transport_error;

/// Why an operation on a store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The location is invalid.
    #[error("cannot use {location} as a storage location: {problem}")]
    Location {
        /// As it was given.
        location: String,
        /// The problem, with advice.
        problem: String,
    },
    /// The bucket of an object does not exist.
    #[error(
        "cannot use {object} as a storage location: the bucket does not exist: create it, or correct the URI"
    )]
    NoBucket {
        /// URI.
        object: String,
    },
    /// An object does not exist.
    #[error("{object} does not exist")]
    NotFound {
        /// Full path or URI.
        object: String,
    },
    /// The credentials or file permissions do not suffice.
    #[error(
        "no permission to {doing} {object} ({source}): check the credentials or the file permissions"
    )]
    Denied {
        /// `read`, `write`, `list`, `delete`.
        doing: &'static str,
        /// Full path or URI.
        object: String,
        /// The store's error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The disk, or the quota on it, is full.
    #[error(
        "the disk is full: cannot write {object}: free some space and run the same again; nothing is lost"
    )]
    DiskFull {
        /// Path of the file.
        object: String,
    },
    /// The server did not respond; all retries failed.
    #[error("cannot reach the store to {doing} {object} ({}): check the endpoint, the network and that the server runs", root_cause(source.as_ref()))]
    NotReachable {
        /// `read`, `write`, `list`, `delete`.
        doing: &'static str,
        /// URI.
        object: String,
        /// The transport's error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Any other error.
    #[error("cannot {doing} {object}: {source}")]
    Failed {
        /// `read`, `write`, `list`, `delete`.
        doing: &'static str,
        /// Full path or URI.
        object: String,
        /// The store's error.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl StoreError {
    /// Returns what outside of the task caused it; `None` for an invalid location, with which no retry can succeed.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            StoreError::Location { .. } => None,
            StoreError::NotFound { .. } | StoreError::NoBucket { .. } => {
                Some(Cause::LocationNotFound)
            }
            StoreError::Denied { .. } => Some(Cause::AccessDenied),
            StoreError::DiskFull { .. } => Some(Cause::DiskFull),
            StoreError::NotReachable { .. } | StoreError::Failed { .. } => {
                Some(Cause::StoreUnavailable)
            }
        }
    }

    /// Classifies the error of a file operation on `path`.
    pub(crate) fn from_io(doing: &'static str, path: &Path, error: io::Error) -> Self {
        let object = path.display().to_string();
        match error.kind() {
            io::ErrorKind::NotFound => StoreError::NotFound { object },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                StoreError::Denied {
                    doing,
                    object,
                    source: error.into(),
                }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StoreError::DiskFull { object }
            }
            _ => StoreError::Failed {
                doing,
                object,
                source: error.into(),
            },
        }
    }

    /// Classifies the error of an object store operation on `object`.
    pub(super) fn from_object_store(
        doing: &'static str,
        object: String,
        error: ObjectError,
    ) -> Self {
        match error {
            ObjectError::NotFound { source, .. } => match bucket_is_missing(source.as_ref()) {
                true => StoreError::NoBucket { object },
                false => StoreError::NotFound { object },
            },
            ObjectError::PermissionDenied { .. } | ObjectError::Unauthenticated { .. } => {
                StoreError::Denied {
                    doing,
                    object,
                    source: error.into(),
                }
            }
            _ if transport_error(&error).is_some() => StoreError::NotReachable {
                doing,
                object,
                source: error.into(),
            },
            _ => StoreError::Failed {
                doing,
                object,
                source: error.into(),
            },
        }
    }
}

fn bucket_is_missing(source: &(dyn Error + Send + Sync + 'static)) -> bool {
    let text = source.to_string();
    text.contains("NoSuchBucket") || text.contains("ContainerNotFound")
}

/// Returns the innermost cause: the outer layers repeat it with URLs and counts.
fn root_cause(error: &(dyn Error + Send + Sync + 'static)) -> String {
    let mut current: &dyn Error = error;
    while let Some(source) = current.source() {
        current = source;
    }
    current.to_string()
}

/// Returns `None` if the file or folder does not exist. A parent that is a file counts as absent too.
pub(super) fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disk_names_the_path() {
        for errno in [28, 122] {
            let error = StoreError::from_io(
                "write",
                Path::new("/data/x"),
                io::Error::from_raw_os_error(errno),
            );
            assert!(
                error
                    .to_string()
                    .starts_with("the disk is full: cannot write /data/x"),
                "{error}"
            );
            assert_eq!(error.cause(), Some(Cause::DiskFull));
        }
    }

    #[test]
    fn missing_permission_names_the_file() {
        let error = StoreError::from_io(
            "write",
            Path::new("/data/x"),
            io::Error::from_raw_os_error(13),
        );
        assert!(
            error
                .to_string()
                .starts_with("no permission to write /data/x"),
            "{error}"
        );
        assert_eq!(error.cause(), Some(Cause::AccessDenied));
    }
}
