//! Status: what a person reads of a run. A projection; nothing is decided from it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{RejectReason, Stage, StageId};

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct SynthesisRunStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// For people; code never compares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Accepted, Progressing, Suspended, Complete, Failed, Degraded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 0, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// How far the dataset is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<RunProgress>,
    /// What became of all questions of sealed waves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub funnel: Option<Funnel>,
    /// What the whole run is expected to take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// What the run has taken so far; only ever grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The stages begun so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 0, max = 100))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub stages: Vec<StageStatus>,
    /// The published dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<Dataset>,
}

/// How far the dataset is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunProgress {
    /// Accepted pairs in sealed waves.
    pub accepted: i64,
    /// Pairs wanted.
    pub target: i64,
    /// 100 * accepted / target, at most 100.
    pub percent: i32,
    /// The wave under way, from 1; 0 before the first.
    pub wave: i32,
    /// Seconds left, estimated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
    /// `accepted/target`.
    pub summary: String,
    /// `etaSeconds` for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<String>,
}

/// What became of the questions. `generated = accepted + sum of rejected` over sealed waves, exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct Funnel {
    /// Questions generated.
    pub generated: i64,
    /// Pairs accepted.
    pub accepted: i64,
    /// Questions still on their way through a wave.
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

/// What the whole run is expected to take. Decimals are strings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// Questions to generate.
    pub questions: i64,
    /// GPU hours (on a machine without a GPU: worker hours).
    pub gpu_hours: String,
    /// Money, where a price is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// Accepted pairs per question.
    #[serde(rename = "yield")]
    pub yield_ratio: String,
}

/// What a run has taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Seconds with a GPU held, failed attempts included.
    pub gpu_seconds: i64,
    /// Seconds of all workers, failed attempts included.
    pub worker_seconds: i64,
    /// Prompt tokens read.
    pub input_tokens: i64,
    /// Tokens made.
    pub output_tokens: i64,
    /// Money, where a price is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
}

/// How far a stage is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageStatus {
    /// Which stage it is.
    pub name: Stage,
    /// The wave, if per wave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<i32>,
    /// The generator, if per generator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<String>,
    /// `Waiting`, `Running`, `Sealed`, `Reused` or `Failed`.
    pub state: String,
    /// The Job that does it, while it is under way. Cluster only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// How many shards it has, and how far they are.
    pub shards: ShardStatus,
    /// How much of it is done, in percent, shards at work included as far as their workers say. While it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<i32>,
    /// What the worker of its first shard at work is doing, as in `load model`, `train` and `generate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doing: Option<String>,
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

/// Shards of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardStatus {
    /// Shards in all.
    pub total: i64,
    /// Shards committed.
    pub succeeded: i64,
    /// Shards being worked on.
    pub active: i64,
    /// Shards given up.
    pub failed: i64,
}

/// The published dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dataset {
    /// Where the dataset is.
    pub uri: String,
    /// Digest of its manifest.
    pub digest: String,
    /// Accepted pairs in it.
    pub rows: i64,
}
