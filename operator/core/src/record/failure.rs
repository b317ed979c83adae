//! The permanent failure of a run, recorded so that it outlives the Jobs that showed it.

use scalequest_crds::v1alpha1::Stage;
use scalequest_crds::v1alpha1::conditions::reason;
use serde::{Deserialize, Deserializer, Serialize};

use super::RunRecord;

/// A reason of [`scalequest_crds::v1alpha1::conditions::reason`].
type Reason = &'static str;

/// Why something can never work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For machines: one of [`scalequest_crds::v1alpha1::conditions::reason`].
    #[serde(deserialize_with = "known_reason")]
    pub reason: Reason,
    /// For a person: what is wrong, from the worker.
    pub message: String,
}

/// Reads a reason; one that this version does not know is that of any failed stage.
fn known_reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Reason, D::Error> {
    let text = String::deserialize(deserializer)?;
    let known = reason::ALL.into_iter().find(|known| *known == text);
    Ok(known.unwrap_or(reason::STAGE_FAILED))
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageFailure {
    /// Its content key.
    pub key: String,
    /// The stage, with generator and wave, for a person.
    pub name: String,
    /// Why it cannot work.
    #[serde(flatten)]
    pub failure: Failure,
}

/// Maximum length of a recorded message, in characters.
const MESSAGE_MAX_CHARS: usize = 1024;

impl RunRecord {
    /// Records the permanent failure of a stage. The first one stays.
    pub fn fail(&mut self, failure: &StageFailure) {
        let failed = self.failed.get_or_insert_with(|| failure.clone());
        if let Some((end, _)) = failed.failure.message.char_indices().nth(MESSAGE_MAX_CHARS) {
            failed.failure.message.truncate(end);
        }
    }
}
