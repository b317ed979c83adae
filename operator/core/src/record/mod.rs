//! The run record: what makes decisions durable. One JSON object of at most [`RECORD_MAX_BYTES`] that holds the resolved spec, what was
//! found at acceptance, what was planned, and what every sealed stage reported. Executors save it before they act on a plan; everything
//! that a run is can be had again from it and the workspace. It knows no clock and no file: times and reports come as values.

pub mod amend;

pub mod charge;

pub mod damage;

pub mod failure;

pub mod pin;

pub mod money;

pub mod seal;

pub mod size;

pub mod sums;

use std::collections::BTreeMap;

use scalequest_crds::protocol::preflight::PreflightReport;
use scalequest_crds::protocol::report::Counts;
use scalequest_crds::v1alpha1::{Stage, StageId, SynthesisRunSpec};
use serde::{Deserialize, Serialize};

use crate::validate::ValidRun;

pub use charge::Charged;
pub use damage::DamageRecord;
pub use failure::{Failure, FailureRecord, StageFailure};
pub use pin::Pins;
pub use seal::RecordError;
pub use size::RECORD_MAX_BYTES;

/// The version of the record's layout. A record of another version is refused, never guessed at.
pub const RECORD_VERSION: u32 = 2;

/// What is known of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunRecord {
    /// [`RECORD_VERSION`] of the writer.
    pub version: u32,
    /// Name of the run.
    pub name: String,
    /// When the run was accepted, in milliseconds since 1970.
    pub accepted_at_millis: i64,
    /// The spec with the recipe's defaults filled in at acceptance; what may change is kept current by [`RunRecord::amend`].
    pub spec: SynthesisRunSpec,
    /// Which worker does the work, pinned at acceptance.
    pub worker: WorkerIdentity,
    /// What the models and files were at acceptance.
    pub preflight: PreflightReport,
    /// The waves planned so far, in order.
    #[serde(default)]
    pub waves: Vec<WaveRecord>,
    /// The stages planned so far.
    #[serde(default)]
    pub stages: Vec<StageRecord>,
    /// What the stages have taken, failed attempts included. Only ever grows.
    #[serde(default)]
    pub usage: BTreeMap<Stage, StageUsage>,
    /// Shards given up, the latest few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_up: Vec<GivenUp>,
    /// Shards given up in all.
    #[serde(default)]
    pub given_up_total: i64,
    /// The latest publication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publication: Option<PublicationRecord>,
    /// Sealed outputs that were found damaged or gone. Cluster only: one machine looks for itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damages: Vec<DamageRecord>,
    /// Why the run can never work. Cluster only: on one machine the same command tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailureRecord>,
    /// What is charged already of the workers that can still be seen. Cluster only.
    #[serde(default, skip_serializing_if = "Charged::is_empty")]
    pub charged: Charged,
}

/// The worker that a run was accepted with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerIdentity {
    /// Its version.
    pub version: String,
    /// Its image, as it is pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The image for stages that hold a GPU, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_image: Option<String>,
    /// Digest of its image, or of its program file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Whether it works on a GPU: then hours in budget and estimate are GPU hours, otherwise worker hours.
    #[serde(default)]
    pub gpu: bool,
}

/// A wave: its questions are fixed when it is planned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WaveRecord {
    /// From 1.
    pub wave: i32,
    /// Id of its first question.
    pub first_id: i64,
    /// Questions by generator, in the order of the spec.
    pub questions: Vec<i64>,
    /// What became of them, once the wave's Verify is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<WaveEnd>,
}

impl WaveRecord {
    /// Questions of all generators.
    pub fn total(&self) -> i64 {
        self.questions.iter().sum()
    }
}

/// The outcome of a wave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WaveEnd {
    /// Questions drawn.
    pub generated: i64,
    /// Pairs accepted.
    pub accepted: i64,
}

/// A stage that was planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageRecord {
    /// Which stage of the run it is.
    #[serde(flatten)]
    pub id: StageId,
    /// Content key, pinned when first planned.
    pub key: String,
    /// Rows of work.
    pub work: i64,
    /// Rows in a shard, pinned when first planned.
    pub shard_rows: i64,
    /// Worker time so far in milliseconds, failed attempts included.
    #[serde(default)]
    pub worker_millis: i64,
    /// Time with a GPU held so far in milliseconds.
    #[serde(default)]
    pub gpu_millis: i64,
    /// Whether a worker of this run made part of it. Cluster only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub computed: bool,
    /// What its seal says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<SealRecord>,
}

/// What a seal says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SealRecord {
    /// Digest of its content.
    pub digest: String,
    /// Rows of its table `rows`.
    pub rows: i64,
    /// Whether the workspace held it already and nothing was computed.
    #[serde(default)]
    pub reused: bool,
    /// What was counted.
    #[serde(default)]
    pub counts: Counts,
    /// Compute backends that made it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<String>,
}

/// What a stage has taken, over all generators and waves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageUsage {
    /// Worker time in milliseconds, failed attempts included.
    pub worker_millis: i64,
    /// Time with a GPU held in milliseconds.
    pub gpu_millis: i64,
    /// Rows of work that were sealed and not reused.
    pub rows: i64,
    /// Prompt tokens read in sealed work that was not reused.
    pub tokens_in: i64,
    /// Tokens made in sealed work that was not reused.
    pub tokens_out: i64,
}

/// A shard given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GivenUp {
    /// Content key of its stage.
    pub key: String,
    /// The stage.
    pub stage: Stage,
    /// Its index.
    pub shard: i64,
    /// Why, for a person.
    pub message: String,
}

/// A dataset that was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublicationRecord {
    /// Content key of the Publish stage that made it.
    pub key: String,
    /// Digest of its content.
    pub digest: String,
    /// Accepted pairs in it.
    pub rows: i64,
    /// Why it is short of the target, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
}

impl RunRecord {
    /// The record of a run that has just been accepted. `preflight` is one that [`crate::validate::check_preflight`] finds no error in.
    pub fn new(
        run: &ValidRun,
        preflight: PreflightReport,
        worker: WorkerIdentity,
        now_millis: i64,
    ) -> RunRecord {
        RunRecord {
            version: RECORD_VERSION,
            name: run.name().into(),
            accepted_at_millis: now_millis,
            spec: run.spec().clone(),
            worker,
            preflight,
            waves: Vec::new(),
            stages: Vec::new(),
            usage: BTreeMap::new(),
            given_up: Vec::new(),
            given_up_total: 0,
            publication: None,
            damages: Vec::new(),
            failed: None,
            charged: Charged::default(),
        }
    }

    /// The record as JSON: the same record, the same bytes.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// Text that is no record, or one of another version.
    pub fn from_json(text: &str) -> Result<RunRecord, RecordError> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|e| RecordError::Unreadable(e.to_string()))?;
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(RECORD_VERSION) => {}
            Some(version) => return Err(RecordError::OtherVersion(version)),
            None => return Err(RecordError::Unreadable("it has no version".into())),
        }
        serde_json::from_value(value).map_err(|e| RecordError::Unreadable(e.to_string()))
    }
}
