//! The run record, which persists decisions: one JSON object of at most [`RECORD_MAX_BYTES`] with the resolved spec, the results of the
//! preflight, the plans so far, and the report of every sealed stage. Executors save it before they act on a plan; record and workspace suffice
//! to resume a run. It knows no clock and no file: times and reports are arguments.

pub mod amend;

pub mod attempts;

pub mod usage;

pub mod blocked;

pub mod corruption;

pub mod failure;

pub mod seal;

pub mod size;

pub mod totals;

use std::collections::BTreeMap;

use scalequest_crds::protocol::preflight::PreflightReport;
use scalequest_crds::protocol::report::Counts;
use scalequest_crds::v1alpha1::{Stage, StageId, SynthesisRunSpec};
use serde::{Deserialize, Serialize};

use crate::validate::ValidRun;

pub use attempts::AttemptCounts;
pub use blocked::{Blocked, BlockedStage, BlockedState};
pub use corruption::CorruptionRecord;
pub use failure::{Failure, RetryToken, StageFailure};
pub use seal::RecordError;
pub use size::RECORD_MAX_BYTES;
pub use usage::CountedUsage;

/// File name of a record: in a run's directory, and in its ConfigMap.
pub const RECORD_FILE: &str = "record.json";

/// Version of the record's layout. A record of another version is rejected, not migrated.
pub const RECORD_VERSION: u32 = 2;

/// The record of a run.
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
    /// The worker, pinned at acceptance.
    pub worker: WorkerIdentity,
    /// Results of the preflight at acceptance.
    pub preflight: PreflightReport,
    /// The waves planned so far, in order.
    #[serde(default)]
    pub waves: Vec<WaveRecord>,
    /// The stages planned so far.
    #[serde(default)]
    pub stages: Vec<StageRecord>,
    /// Usage by stage, failed attempts included. It only grows.
    #[serde(default)]
    pub usage: BTreeMap<Stage, StageUsage>,
    /// The latest failed shards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_shards: Vec<FailedShard>,
    /// Number of all failed shards.
    #[serde(default)]
    pub failed_shards_total: i64,
    /// The latest publication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publication: Option<PublicationRecord>,
    /// Whether a user approved that the run continues after its first wave. Cluster only: on one machine the spec says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_approved: bool,
    /// Sealed outputs that were found corrupt or missing. Cluster only: the runner checks the workspace itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corruptions: Vec<CorruptionRecord>,
    /// Stages that something outside of them has blocked. Cluster only: on one machine the same command retries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<BlockedStage>,
    /// The permanent failure of the run. Cluster only: on one machine the same command retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<StageFailure>,
    /// Jobs and pods whose usage is counted, as far as they still exist. Cluster only.
    #[serde(default, skip_serializing_if = "CountedUsage::is_empty")]
    pub counted: CountedUsage,
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
    /// GPU time so far in milliseconds.
    #[serde(default)]
    pub gpu_millis: i64,
    /// Attempts without success until it is sealed. Cluster only.
    #[serde(default, skip_serializing_if = "AttemptCounts::is_empty")]
    pub attempts: AttemptCounts,
    /// Whether a worker of this run computed part of it. Cluster only.
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
    /// Whether it is reused from the workspace: nothing was computed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reused: bool,
    /// What was counted.
    #[serde(default)]
    pub counts: Counts,
}

/// Usage of a stage, over all generators and waves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageUsage {
    /// Worker time in milliseconds, failed attempts included.
    pub worker_millis: i64,
    /// GPU time in milliseconds.
    pub gpu_millis: i64,
    /// Rows of work that were sealed and not reused.
    pub rows: i64,
    /// Prefill tokens of sealed work that was not reused.
    pub tokens_in: i64,
    /// Decode tokens of sealed work that was not reused.
    pub tokens_out: i64,
    /// Attempts without success at sealed stages. Cluster only.
    #[serde(default, skip_serializing_if = "AttemptCounts::is_empty")]
    pub attempts: AttemptCounts,
}

/// A shard that exhausted its retry budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailedShard {
    /// Content key of its stage.
    pub key: String,
    /// The stage.
    pub stage: Stage,
    /// Its index.
    pub shard: i64,
    /// Why it failed, for display.
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
    /// Why it is incomplete, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
}

/// What a plan fixes for good: the questions of the next wave, content key and shard size of each new stage. Executors save the record
/// between pinning and acting, so that a crash at any moment repeats the same work.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pins {
    /// The next wave.
    pub wave: Option<WaveRecord>,
    /// Stages planned for the first time.
    pub stages: Vec<StageRecord>,
}

impl Pins {
    /// Whether there is nothing to record.
    pub fn is_empty(&self) -> bool {
        self.wave.is_none() && self.stages.is_empty()
    }
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
            failed_shards: Vec::new(),
            failed_shards_total: 0,
            publication: None,
            is_approved: false,
            corruptions: Vec::new(),
            blocked: Vec::new(),
            failed: None,
            counted: CountedUsage::default(),
        }
    }

    /// Records `pins`. Returns whether anything changed; idempotent.
    pub fn pin(&mut self, pins: &Pins) -> bool {
        let Pins { wave, stages } = pins;
        let mut changed = false;
        let is_new = |wave: &&WaveRecord| self.waves.iter().all(|known| known.wave != wave.wave);
        if let Some(wave) = wave.as_ref().filter(is_new) {
            self.waves.push(wave.clone());
            changed = true;
        }
        for stage in stages {
            let is_same = |known: &StageRecord| known.key == stage.key && known.id == stage.id;
            if self.stages.iter().any(is_same) {
                continue;
            }
            if stage.id.stage == Stage::Publish {
                self.stages.retain(|known| known.id.stage != Stage::Publish);
            }
            self.stages.push(stage.clone());
            changed = true;
        }
        changed
    }

    /// Returns the record as JSON, byte for byte the same for the same record.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses a record.
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
