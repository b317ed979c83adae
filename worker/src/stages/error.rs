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
