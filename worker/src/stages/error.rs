//! Why a stage did not come to its end, in the kinds by which the operator acts: the task can never work, this shard can never
//! work, an input must be made again, a stop was asked for, or the world failed and may be better next time.

use scalequest_crds::Stage;

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
    /// The world failed: a disk, a network, a machine.
    #[error("{0}")]
    World(String),
}

impl From<crate::dataset::store::StoreError> for StageError {
    fn from(error: crate::dataset::store::StoreError) -> Self {
        if error.is_permanent() {
            StageError::Task(error.to_string())
        } else {
            StageError::World(error.to_string())
        }
    }
}

impl From<crate::dataset::workspace::ReadError> for StageError {
    fn from(error: crate::dataset::workspace::ReadError) -> Self {
        use crate::dataset::workspace::ReadError;
        let message = error.to_string();
        match error {
            ReadError::Damaged { stage, key, .. } => StageError::InputDamaged {
                stage,
                key,
                message,
            },
            error if error.is_permanent() => StageError::Task(message),
            _ => StageError::World(message),
        }
    }
}

impl From<crate::model::ModelError> for StageError {
    fn from(error: crate::model::ModelError) -> Self {
        if error.is_permanent() {
            StageError::Task(error.to_string())
        } else {
            StageError::World(error.to_string())
        }
    }
}

impl From<crate::training::TrainingError> for StageError {
    fn from(error: crate::training::TrainingError) -> Self {
        if error.is_permanent() {
            StageError::Task(error.to_string())
        } else {
            StageError::World(error.to_string())
        }
    }
}
