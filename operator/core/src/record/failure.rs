//! The permanent failure of a run, recorded so that it outlives the Jobs that showed it, and how a user leaves it.

use scalequest_crds::digest::sha256_hex;
use scalequest_crds::protocol::content_key::canonical;
use scalequest_crds::v1alpha1::conditions::reason;
use scalequest_crds::v1alpha1::{Stage, SynthesisRunSpec};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

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
    /// What leaves the failure when it changes. Cluster only: on one machine the same command tries again.
    #[serde(default)]
    pub retry: RetryToken,
}

/// Mutable fields of the spec with which a failed stage may work.
const RETRY_FIELDS: [&str; 6] = [
    "pods",
    "stores",
    "modelCache",
    "serviceAccountName",
    "priorityClassName",
    "failurePolicy",
];

/// What a user changes to try again after a permanent failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryToken {
    /// Hash of the spec's fields that may change and matter.
    edit: String,
    /// The value of the annotation `scalequest.dev/retry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotation: Option<String>,
}

impl RetryToken {
    /// Returns the token of `spec` and of the annotation's value.
    pub fn of(spec: &SynthesisRunSpec, annotation: Option<&String>) -> RetryToken {
        let spec = serde_json::to_value(spec).unwrap_or_default();
        let fields = RETRY_FIELDS.map(|field| (field.to_string(), spec[field].clone()));
        let fields: Value = fields.into_iter().collect();
        RetryToken {
            edit: sha256_hex(canonical(&fields).as_bytes()),
            annotation: annotation.cloned(),
        }
    }
}

/// Maximum length of a recorded message, in characters.
const MESSAGE_MAX_CHARS: usize = 1024;

impl RunRecord {
    /// Leaves the permanent failure if `now` differs from the token with which it was recorded: its stage starts again, with `next_attempt`. A
    /// change of the annotation also forgets the shards that exhausted their retries; an edit keeps them failed.
    pub fn leave_failure(&mut self, now: &RetryToken, next_attempt: impl Fn(&str) -> i32) {
        let Some(failed) = self.failed.take_if(|failed| failed.retry != *now) else {
            return;
        };
        self.restart_from(&failed.key, next_attempt(&failed.key));
        for corruption in &mut self.corruptions {
            corruption.times = 0;
        }
        if failed.retry.annotation != now.annotation {
            let before = self.failed_shards.len();
            self.failed_shards.retain(|shard| shard.key != failed.key);
            let forgotten = before - self.failed_shards.len();
            self.failed_shards_total -= i64::try_from(forgotten).unwrap_or(0);
        }
    }

    /// Records the permanent failure of a stage. The first one stays.
    pub fn fail(&mut self, failure: &StageFailure) {
        let failed = self.failed.get_or_insert_with(|| failure.clone());
        if let Some((end, _)) = failed.failure.message.char_indices().nth(MESSAGE_MAX_CHARS) {
            failed.failure.message.truncate(end);
        }
    }
}
