//! Why a stage failed, in the classes by which the operator acts: the task or this shard failed permanently, an input must be
//! recomputed, the task was cancelled, a disk is full, an endpoint is unavailable, or the failure is transient.

use std::error::Error;
use std::io;

use scalequest_crds::v1alpha1::Stage;

use crate::storage::store::StoreError;

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
    /// A disk or its quota is full: no attempt can succeed until space is freed. Not counted as a failure of the shard.
    #[error("{0}")]
    DiskFull(String),
    /// An endpoint does not answer, after all retries. Not counted as a failure of the shard.
    #[error("{0}")]
    Unavailable(String),
    /// A disk, a network or a machine failed; a retry may succeed.
    #[error("{0}")]
    Transient(String),
}

impl StageError {
    /// Creates a transient error with `message`, or [`StageError::DiskFull`] if a full disk caused `error`.
    pub fn transient(error: &(dyn Error + 'static), message: String) -> Self {
        if is_disk_full(error) {
            StageError::DiskFull(message)
        } else {
            StageError::Transient(message)
        }
    }
}

fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| (*error).source()).any(|error| {
        let is_full = |kind| {
            matches!(
                kind,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        };
        matches!(error.downcast_ref(), Some(StoreError::DiskFull { .. }))
            || error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| is_full(error.kind()))
    })
}

impl From<StoreError> for StageError {
    fn from(error: StoreError) -> Self {
        if error.is_permanent() {
            StageError::Permanent(error.to_string())
        } else {
            let message = error.to_string();
            StageError::transient(&error, message)
        }
    }
}

impl From<crate::storage::workspace::ReadError> for StageError {
    fn from(error: crate::storage::workspace::ReadError) -> Self {
        use crate::storage::workspace::ReadError;
        let message = error.to_string();
        match error {
            ReadError::Corrupted { stage, key, .. } => StageError::InputCorrupted {
                stage,
                key,
                message,
            },
            error if error.is_permanent() => StageError::Permanent(message),
            error => StageError::transient(&error, message),
        }
    }
}

impl From<scalequest_engine::model::ModelError> for StageError {
    fn from(error: scalequest_engine::model::ModelError) -> Self {
        if error.is_permanent() {
            StageError::Permanent(error.to_string())
        } else {
            let message = error.to_string();
            StageError::transient(&error, message)
        }
    }
}

impl From<scalequest_engine::training::TrainingError> for StageError {
    fn from(error: scalequest_engine::training::TrainingError) -> Self {
        if error.is_permanent() {
            StageError::Permanent(error.to_string())
        } else {
            let message = error.to_string();
            StageError::transient(&error, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scalequest_engine::model::ModelError;
    use scalequest_engine::training::TrainingError;

    #[test]
    fn full_disks_are_recognised_at_any_depth() {
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
        for (errno, full) in [(28, true), (122, true), (5, false)] {
            let errors: [StageError; 4] = [
                at(errno).into(),
                model(errno).into(),
                TrainingError::Model(model(errno)).into(),
                kept(errno).into(),
            ];
            for error in errors {
                assert_eq!(
                    matches!(error, StageError::DiskFull(_)),
                    full,
                    "{errno}: {error:?}"
                );
                assert!(
                    full || matches!(error, StageError::Transient(_)),
                    "{error:?}"
                );
            }
        }
    }
}
