//! The permanent failure of a run, recorded so that it outlives the Jobs that showed it.

use scalequest_crds::v1alpha1::Stage;
use scalequest_crds::v1alpha1::conditions::reason;
use serde::{Deserialize, Serialize};

use super::RunRecord;

/// Why something can never work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For machines: one of [`scalequest_crds::v1alpha1::conditions::reason`].
    pub reason: &'static str,
    /// For a person: what is wrong, from the worker.
    pub message: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure {
    /// A stage that failed, with what its worker or its store says.
    pub fn stage(message: impl Into<String>) -> Failure {
        Failure {
            reason: reason::STAGE_FAILED,
            message: message.into(),
        }
    }

    /// A stage that reads a corrupt output of `stage` which cannot be made whole.
    pub fn corrupt_input(stage: Stage, message: &str) -> Failure {
        Failure::stage(format!(
            "the output of stage {stage} that it reads is corrupt: {message}"
        ))
    }

    /// A stage with more failed shards than the failure policy allows; `None` if it allows so many.
    pub fn too_many_shards(
        failed: i64,
        shards: i64,
        max_percent: i64,
        last: &str,
    ) -> Option<Failure> {
        let is_allowed = failed.saturating_mul(100) <= max_percent.saturating_mul(shards);
        (!is_allowed).then(|| Failure {
            reason: reason::TOO_MANY_FAILED_SHARDS,
            message: format!(
                "{failed} of {shards} shards failed, failurePolicy.maxFailedShardsPercent allows {max_percent}%; the last one: {last}"
            ),
        })
    }
}

/// A permanent failure of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageFailure {
    /// Its content key.
    pub key: String,
    /// The stage, with generator and wave, for a person.
    pub name: String,
    /// Why it cannot work.
    pub failure: Failure,
}

/// A stage that can never work, as it is on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailureRecord {
    /// Its content key.
    pub key: String,
    /// The stage, with generator and wave, for a person.
    pub name: String,
    /// For machines.
    pub reason: String,
    /// For a person.
    pub message: String,
}

/// Maximum length of a message, in characters.
const MESSAGE_MAX_CHARS: usize = 1024;

impl RunRecord {
    /// Records the permanent failure of a stage. The first one stays.
    pub fn fail(&mut self, failure: &StageFailure) {
        let StageFailure {
            key,
            name,
            failure: Failure { reason, message },
        } = failure;
        self.failed.get_or_insert_with(|| FailureRecord {
            key: key.clone(),
            name: name.clone(),
            reason: (*reason).into(),
            message: message.chars().take(MESSAGE_MAX_CHARS).collect(),
        });
    }

    /// Returns the recorded failure for the planner.
    pub fn failure(&self) -> Option<StageFailure> {
        let FailureRecord {
            key,
            name,
            reason,
            message,
        } = self.failed.clone()?;
        let known = reason::ALL.into_iter().find(|known| *known == reason);
        Some(StageFailure {
            key,
            name,
            failure: Failure {
                reason: known.unwrap_or(reason::STAGE_FAILED),
                message,
            },
        })
    }
}
