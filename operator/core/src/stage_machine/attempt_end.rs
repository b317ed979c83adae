//! How an attempt ended, as far as its stage is concerned: exit code and report of a worker, classified once for both executors.

use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::protocol::exit_codes::worker::{
    DONE, SHARD_FAILED_PERMANENTLY, STOPPED, TASK_FAILED_PERMANENTLY, cause_of,
};
use scalequest_crds::protocol::report::{Outcome, StageReport};
use scalequest_crds::protocol::shard_set::ShardSet;
use scalequest_crds::v1alpha1::Stage;

/// How an attempt at a work item ended.
#[derive(Clone, Debug, PartialEq)]
pub enum AttemptEnd {
    /// The shard is committed.
    Committed {
        /// Whether it had been committed before.
        reused: bool,
    },
    /// The stage is sealed.
    Sealed(Box<StageReport>),
    /// A seal found these shards missing or corrupt.
    Missing(ShardSet),
    /// An output of an earlier stage is corrupt.
    InputCorrupted(CorruptInput),
    /// The worker stopped with its progress saved, or its pod was evicted or deleted: no failure.
    Interrupted,
    /// It failed.
    Failed {
        /// What failed.
        class: FailureClass,
        /// What failed, for users.
        message: String,
    },
}

/// A corrupt output of an earlier stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorruptInput {
    /// The stage that wrote it.
    pub stage: Stage,
    /// Its content key.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

/// What a failed attempt says of its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// The task can never work as specified.
    Permanent,
    /// The rows of this shard break the stage.
    Shard,
    /// A transient failure: something outside of the task and its rows.
    Transient(Cause),
    /// The cause is unknown. It counts against the shard.
    Unknown {
        /// The exit code, `None` if a signal ended the worker.
        code: Option<i32>,
    },
}

impl AttemptEnd {
    /// Classifies the end of a worker of the task with content key `key`. `code`: its exit code, `None` if a signal ended it. `message`: what
    /// failed, where no report says so.
    pub fn of(
        key: &str,
        code: Option<i32>,
        report: Option<&StageReport>,
        message: String,
    ) -> AttemptEnd {
        // The report of another task says nothing about this one.
        let report = report.filter(|report| report.key == key);
        let outcome = report.map(|report| &report.outcome);
        match (code, outcome, report) {
            (Some(DONE), Some(Outcome::Done { reused }), _) => {
                AttemptEnd::Committed { reused: *reused }
            }
            // A seal is of the whole stage, whoever made it.
            (Some(DONE), Some(Outcome::Sealed { .. }), Some(report)) if report.shard.is_none() => {
                AttemptEnd::Sealed(Box::new(report.clone()))
            }
            (_, Some(Outcome::Missing { shards, .. }), Some(report)) if report.shard.is_none() => {
                AttemptEnd::Missing(shards.clone())
            }
            (
                _,
                Some(Outcome::InputCorrupted {
                    stage,
                    key,
                    message,
                }),
                _,
            ) => AttemptEnd::InputCorrupted(CorruptInput {
                stage: *stage,
                key: key.clone(),
                message: message.clone(),
            }),
            (Some(STOPPED), ..) => AttemptEnd::Interrupted,
            (_, Some(Outcome::Transient { cause, message }), _) => AttemptEnd::Failed {
                class: FailureClass::Transient(*cause),
                message: message.clone(),
            },
            _ => AttemptEnd::Failed {
                class: FailureClass::of_code(code),
                message,
            },
        }
    }
}

impl FailureClass {
    fn of_code(code: Option<i32>) -> FailureClass {
        match code {
            Some(TASK_FAILED_PERMANENTLY) => FailureClass::Permanent,
            Some(SHARD_FAILED_PERMANENTLY) => FailureClass::Shard,
            _ => match code.and_then(cause_of) {
                Some(cause) => FailureClass::Transient(cause),
                None => FailureClass::Unknown { code },
            },
        }
    }
}
