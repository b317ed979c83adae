//! Status of a run, for display. A projection of the run record; no decision reads it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{RejectReason, Stage, StageId};

/// Observed state of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct SynthesisRunStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Summary for display; no code compares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Accepted, Progressing, Suspended, Complete, Failed, Degraded, Waiting.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 0, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Progress towards the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<RunProgress>,
    /// The outcomes of all questions of sealed waves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub funnel: Option<Funnel>,
    /// Estimate for the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// Resources used so far; only ever grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The stages started so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 0, max = 100))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub stages: Vec<StageStatus>,
    /// The published dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<Dataset>,
}

/// Progress towards the target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunProgress {
    /// Accepted pairs in sealed waves.
    pub accepted: i64,
    /// Target number of pairs.
    pub target: i64,
    /// 100 * accepted / target, at most 100.
    pub percent: i32,
    /// The current wave, from 1; 0 before the first.
    pub wave: i32,
    /// Seconds left, estimated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
    /// `accepted/target`.
    pub summary: String,
    /// `etaSeconds` for display.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<String>,
}

/// The outcomes of questions. `generated = accepted + sum of rejected` over sealed waves, exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct Funnel {
    /// Questions generated.
    pub generated: i64,
    /// Pairs accepted.
    pub accepted: i64,
    /// Questions of a wave that is not finished.
    pub pending: i64,
    /// Questions rejected, by reason.
    #[schemars(length(min = 0, max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["reason".into()]))]
    pub rejected: Vec<Rejected>,
}

/// A reason and its count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// Why they were rejected.
    pub reason: RejectReason,
    /// Questions rejected for it.
    pub count: i64,
}

/// Estimate for the whole run. Decimals are strings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// Questions to generate.
    pub questions: i64,
    /// GPU hours (on a machine without a GPU: worker hours).
    pub gpu_hours: String,
    /// Money, if a price is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// Accepted pairs per question.
    #[serde(rename = "yield")]
    pub yield_ratio: String,
}

/// Resources that a run has used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Seconds with a GPU allocated, failed attempts included.
    pub gpu_seconds: i64,
    /// Seconds of all workers, failed attempts included.
    pub worker_seconds: i64,
    /// Prompt tokens.
    pub input_tokens: i64,
    /// Generated tokens.
    pub output_tokens: i64,
    /// Money, if a price is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
}

/// Status of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageStatus {
    /// Name of the stage.
    pub name: Stage,
    /// The wave, if per wave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<i32>,
    /// The generator, if per generator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<String>,
    /// `Waiting`, `Running`, `Blocked`, `Sealed`, `Reused` or `Failed`.
    pub state: String,
    /// The Job that runs it, while it is running. Cluster only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Its shards.
    pub shards: ShardStatus,
    /// Attempts that did not succeed, from the third on. Cluster only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<AttemptStatus>,
    /// Percent done, including the reported progress of running shards. While it is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<i32>,
    /// Current activity of the worker of its first running shard, e.g. `load model`, `train` or `generate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<String>,
}

impl StageStatus {
    /// Returns which stage of the run it is.
    pub fn id(&self) -> StageId {
        StageId {
            stage: self.name,
            generator: self.generator.clone(),
            wave: self.wave,
        }
    }
}

/// How often attempts at a stage ended without success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttemptStatus {
    /// Failed workers.
    pub failed: i64,
    /// Evicted, preempted and deleted pods; they count against no shard.
    pub evicted: i64,
    /// Workers that were ended since nothing advanced for half an hour.
    pub hung: i64,
    /// Restarts of the servers of models.
    pub restarts: i64,
}

/// Shards of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardStatus {
    /// Shards in total.
    pub total: i64,
    /// Shards committed.
    pub succeeded: i64,
    /// Shards that are running.
    pub active: i64,
    /// Shards that failed after all retries.
    pub failed: i64,
}

/// The published dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dataset {
    /// URI of the dataset.
    pub uri: String,
    /// Digest of its manifest.
    pub digest: String,
    /// Accepted pairs in it.
    pub rows: i64,
}
