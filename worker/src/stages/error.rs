//! Why a stage failed, in the classes by which the operator acts: the task or this shard failed permanently, something outside of them failed
//! it, an input must be recomputed, the task was cancelled, or the cause is unknown.

use std::error::Error;
use std::io;

use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::v1alpha1::Stage;

use crate::storage::store::StoreError;
use crate::storage::workspace::ReadError;
use scalequest_engine::model::ModelError;
use scalequest_engine::training::TrainingError;

/// Why a stage failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// The task was cancelled; progress is saved.
    #[error("stopped, progress saved")]
    Stopped,
    /// An object of an earlier stage is corrupt or gone.
    #[error("{message}")]
    InputCorrupted {
        /// The stage that committed it.
        stage: Stage,
        /// Its content key.
        key: String,
        /// What is wrong with which object.
        message: String,
    },
    /// The task fails however often it is retried.
    #[error("{0}")]
    Permanent(String),
    /// This shard fails however often it is retried.
    #[error("{0}")]
    PermanentShard(String),
    /// A transient failure: something outside of the task and its rows. Not counted as a failure of the shard.
    #[error("{message}")]
    Transient {
        /// What.
        cause: Cause,
        /// What failed, with what to do.
        message: String,
    },
    /// A failure of unknown cause; it counts against the shard, and a retry may succeed.
    #[error("{0}")]
    Unexpected(String),
}

impl StageError {
    /// Creates a transient error with the cause of `error`, or an unexpected one if none is known.
    pub fn retryable(error: &(dyn Error + 'static), message: String) -> Self {
        let mut chain = std::iter::successors(Some(error), |error| (*error).source());
        match chain.find_map(cause_of) {
            Some(cause) => StageError::Transient { cause, message },
            None => StageError::Unexpected(message),
        }
    }
}

/// Returns the cause of an error of a store or a file, if it is one.
fn cause_of(error: &(dyn Error + 'static)) -> Option<Cause> {
    if let Some(error) = error.downcast_ref::<StoreError>() {
        return error.cause();
    }
    error
        .downcast_ref::<io::Error>()
        .map(|error| match error.kind() {
            io::ErrorKind::NotFound => Cause::LocationNotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Cause::AccessDenied
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Cause::DiskFull,
            _ => Cause::StoreUnavailable,
        })
}

impl StageError {
    /// Classifies `error`: transient if something outside of the task caused it; otherwise permanent or unexpected.
    pub fn of(error: &(dyn Error + 'static), is_permanent: bool, message: String) -> Self {
        match Self::retryable(error, message) {
            StageError::Unexpected(message) if is_permanent => StageError::Permanent(message),
            retryable => retryable,
        }
    }
}

impl From<StoreError> for StageError {
    fn from(error: StoreError) -> Self {
        StageError::of(&error, true, error.to_string())
    }
}

impl From<ReadError> for StageError {
    fn from(error: ReadError) -> Self {
        let message = error.to_string();
        match error {
            ReadError::Corrupted { stage, key, .. } => StageError::InputCorrupted {
                stage,
                key,
                message,
            },
            ReadError::Store(error) => error.into(),
            ReadError::Unexpected { .. } => StageError::Permanent(message),
        }
    }
}

impl From<ModelError> for StageError {
    fn from(error: ModelError) -> Self {
        StageError::of(&error, error.is_permanent(), error.to_string())
    }
}

impl From<TrainingError> for StageError {
    fn from(error: TrainingError) -> Self {
        match error {
            TrainingError::Model(error) => error.into(),
            error => StageError::of(&error, error.is_permanent(), error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_recognised_at_any_depth() {
        let io = |errno| io::Error::from_raw_os_error(errno);
        let file = std::path::Path::new("/data/x");
        let at = |errno| StoreError::from_io("write", file, io(errno));
        let model = |errno| ModelError::Io {
            action: "write",
            path: file.into(),
            source: io(errno),
        };
        let kept = |errno| TrainingError::SaveCheckpoint {
            step: 3,
            source: at(errno).into(),
        };
        for (errno, expected) in [
            (28, Cause::DiskFull),
            (122, Cause::DiskFull),
            (5, Cause::StoreUnavailable),
            (13, Cause::AccessDenied),
            (30, Cause::AccessDenied),
            (2, Cause::LocationNotFound),
        ] {
            let errors: [StageError; 4] = [
                at(errno).into(),
                model(errno).into(),
                TrainingError::Model(model(errno)).into(),
                kept(errno).into(),
            ];
            for error in errors {
                let StageError::Transient { cause, message } = &error else {
                    panic!("{errno}: {error:?}");
                };
                assert_eq!((*cause, message.is_empty()), (expected, false), "{error:?}");
            }
        }
    }

    #[test]
    fn invalid_files_are_permanent() {
        let error = ModelError::Invalid {
            path: "/m/config.json".into(),
            reason: "is no JSON".into(),
        };
        assert!(matches!(StageError::from(error), StageError::Permanent(_)));
    }
}
