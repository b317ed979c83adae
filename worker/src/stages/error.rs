//! Why a stage did not come to its end, in the kinds by which the operator acts: the task can never work, this shard can never
//! work, an input must be made again, a stop was asked for, a disk is full, an endpoint gives no answer, or the world failed and may be better next time.

use std::error::Error;
use std::io;

use scalequest_crds::v1alpha1::Stage;

use crate::storage::store::StoreError;

/// Why a stage did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// A stop was asked for; progress is saved.
    #[error("stopped, progress saved")]
    Stopped,
    /// An earlier stage's object is damaged or gone.
    #[error("{message}")]
    InputDamaged {
        /// The stage that made it.
        stage: Stage,
        /// Its content key.
        key: String,
        /// What is wrong with which object.
        message: String,
    },
    /// The task can never work.
    #[error("{0}")]
    Task(String),
    /// This shard can never work.
    #[error("{0}")]
    Shard(String),
    /// A disk, or a quota on it, is full: no attempt can succeed before somebody makes room, and no shard is to blame.
    #[error("{0}")]
    DiskFull(String),
    /// An endpoint gives no answer, however often it is asked; no shard is to blame.
    #[error("{0}")]
    Unavailable(String),
    /// The world failed: a disk, a network, a machine.
    #[error("{0}")]
    World(String),
}

impl StageError {
    /// A failure of the world, said as `message`: a full disk, where `error` comes of one.
    pub fn world(error: &(dyn Error + 'static), message: String) -> Self {
        if comes_of_a_full_disk(error) {
            StageError::DiskFull(message)
        } else {
            StageError::World(message)
        }
    }
}

fn comes_of_a_full_disk(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| (*error).source()).any(|error| {
        let is_full = |kind| {
            matches!(
                kind,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        };
        matches!(error.downcast_ref(), Some(StoreError::Full { .. }))
            || error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| is_full(error.kind()))
    })
}

impl From<StoreError> for StageError {
    fn from(error: StoreError) -> Self {
        if error.is_permanent() {
            StageError::Task(error.to_string())
        } else {
            let message = error.to_string();
            StageError::world(&error, message)
        }
    }
}

impl From<crate::storage::workspace::ReadError> for StageError {
    fn from(error: crate::storage::workspace::ReadError) -> Self {
        use crate::storage::workspace::ReadError;
        let message = error.to_string();
        match error {
            ReadError::Damaged { stage, key, .. } => StageError::InputDamaged {
                stage,
                key,
                message,
            },
            error if error.is_permanent() => StageError::Task(message),
            error => StageError::world(&error, message),
        }
    }
}

impl From<scalequest_engine::model::ModelError> for StageError {
    fn from(error: scalequest_engine::model::ModelError) -> Self {
        if error.is_permanent() {
            StageError::Task(error.to_string())
        } else {
            let message = error.to_string();
            StageError::world(&error, message)
        }
    }
}

impl From<scalequest_engine::training::TrainingError> for StageError {
    fn from(error: scalequest_engine::training::TrainingError) -> Self {
        if error.is_permanent() {
            StageError::Task(error.to_string())
        } else {
            let message = error.to_string();
            StageError::world(&error, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scalequest_engine::model::ModelError;
    use scalequest_engine::training::TrainingError;

    #[test]
    fn a_full_disk_is_told_apart_from_the_rest_of_the_world_however_deep_it_lies() {
        let io = |errno| io::Error::from_raw_os_error(errno);
        let file = std::path::Path::new("/data/x");
        let at = |errno| StoreError::from_io("write", file, io(errno));
        let model = |errno| ModelError::Io {
            action: "write",
            path: file.into(),
            source: io(errno),
        };
        let kept = |errno| TrainingError::Keep {
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
                assert!(full || matches!(error, StageError::World(_)), "{error:?}");
            }
        }
    }
}
