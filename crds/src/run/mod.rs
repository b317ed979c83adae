//! SynthesisRun, group `scalequest.dev`, version `v1alpha1`: what a person writes, for a cluster and for one machine alike.
//! Optional fields that a recipe fills are absent here until a run is accepted.

pub mod model;

pub mod generator;

pub mod filter;

pub mod response;

pub mod place;

pub mod pods;

pub mod status;

pub mod pattern;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use filter::{
    Benchmark, Contamination, Difficulty, Duplicates, Filters, Language, Solvability,
};
pub use generator::{Generator, Lora, Qft, Qpo, Sampling, Tuning};
pub use model::{
    Engine, EngineType, Model, ModelSource, OpenAiEngine, Prices, SecretKey, ServerEngine,
};
pub use place::{Place, SeedQuestions, Store};
pub use pods::{FailurePolicy, PodSettings};
pub use response::{Agreement, AnswerFormat, Responses, Reward, Verification};
pub use status::SynthesisRunStatus;

/// Longest name of a run, in characters: the names of its Jobs and of their pods are made from it and end at 63.
pub const MAX_NAME: usize = 40;

/// A table of defaults for a kind of dataset. `scalequest recipes` prints them; what the spec sets wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Recipe {
    /// The paper's mathematics recipe: two generators, a scalar reward model, difficulty sampling.
    Math,
    /// Mathematics with one open model in every part.
    MathSimple,
    /// Programming questions with code responses.
    Code,
    /// Mathematics with long chain-of-thought responses.
    LongCot,
}

/// The field of knowledge, which selects the prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Domain {
    /// Mathematics: responses end in a final answer.
    Mathematics,
    /// Programming: responses hold code.
    Programming,
}

/// Which dataset is wanted and how it is made.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "scalequest.dev",
    version = "v1alpha1",
    kind = "SynthesisRun",
    plural = "synthesisruns",
    shortname = "srun",
    namespaced
)]
#[kube(
    status = "SynthesisRunStatus",
    derive = "PartialEq",
    doc = "A dataset of reasoning questions and responses to be made, and how far it is."
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SynthesisRunSpec {
    /// Table of defaults for what follows. Immutable once accepted.
    pub recipe: Recipe,
    /// Field of knowledge, which selects the prompts. Default: the recipe's. Immutable once accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
    /// Seed of every random draw: same spec and seed, same bytes. Default: 0. Immutable once accepted.
    #[serde(default)]
    pub seed: i64,
    /// Whether to hold the run: running shards stop at their next checkpoint, none is started. Default: false. Mutable.
    #[serde(default)]
    pub suspend: bool,
    /// When the run is done. Mutable: it may grow.
    pub target: Target,
    /// Limits that stop the run short. Raising them goes on. Mutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// The models, declared once and referred to by name. Immutable once accepted.
    pub models: Vec<Model>,
    /// Questions from which the generators learn to ask. Immutable once accepted.
    pub seed_questions: Vec<SeedQuestions>,
    /// The question generators. Immutable once accepted.
    pub generators: Vec<Generator>,
    /// Which questions are dropped. The order is fixed, cheap filters first. Default: the recipe's. Immutable once accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Filters>,
    /// How questions are answered. Immutable once accepted.
    pub responses: Responses,
    /// How responses are scored. Immutable once accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward: Option<Reward>,
    /// What final answers must satisfy. Default: the recipe's. Immutable once accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// Where intermediate shards, trained models and checkpoints lie; may be shared by runs. Immutable once accepted.
    pub workspace: Place,
    /// Where the dataset is published, and nothing else. Immutable once accepted.
    pub output: Place,
    /// How URIs are reached; on one machine the usual environment variables serve as well. Mutable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stores: Vec<Store>,
    /// Kueue queue. Cluster only. Mutable while suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_name: Option<String>,
    /// Which controller looks after the run. Cluster only. Default: `scalequest.dev/operator`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// Priority class of the pods. Cluster only. Mutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// Service account of the pods, for workload identity. Cluster only. Mutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// Seconds after its end when the run and what it owns are deleted; dataset and workspace stay. Cluster only. Mutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds_after_finished: Option<i32>,
    /// Resources and placement of the stages' pods. Cluster only. Mutable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodSettings>,
    /// When failed shards fail the run. Mutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_policy: Option<FailurePolicy>,
}

/// When the run is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// Accepted pairs wanted, at least 1. All accepted pairs are published, so there may be more.
    pub examples: i64,
    /// Waves after which the run stops short. Default: 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_waves: Option<i32>,
}

/// Limits that stop the run short; what was accepted by then is published.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    /// GPU hours (on a machine without a GPU: worker hours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_hours: Option<f64>,
    /// Money, a decimal string. Needs `pricePerGpuHour`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// ISO 4217 code of the currency. Default: USD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Price of a GPU hour, a decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_gpu_hour: Option<String>,
    /// Seconds from acceptance after which no stage is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<i64>,
}
