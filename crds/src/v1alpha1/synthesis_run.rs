//! SynthesisRun: the spec of a dataset and of its synthesis. Optional fields with a default in the recipe are absent here until a run is
//! accepted.

use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cel_rules as rules;
use super::{
    Benchmark, FailurePolicy, Filters, Generator, Model, ModelCache, PodSettings, Responses,
    Reward, SeedQuestions, StorageLocation, Store, SynthesisRunStatus, Verification, patterns,
};

/// `apiVersion` of a SynthesisRun.
pub const API_VERSION: &str = "scalequest.dev/v1alpha1";

/// `kind` of a SynthesisRun.
pub const KIND: &str = "SynthesisRun";

/// Longest name of a run, in characters: the names of its Jobs and of their pods are derived from it and have at most 63.
pub const MAX_NAME: usize = 40;

/// A table of defaults for a kind of dataset. `scalequest recipes` prints them; what the spec sets wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Recipe {
    /// The paper's mathematics recipe: two generators, a scalar reward model, difficulty sampling.
    Math,
    /// Mathematics with one open model in every role.
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

/// Spec of a dataset and of its synthesis.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "scalequest.dev",
    version = "v1alpha1",
    kind = "SynthesisRun",
    plural = "synthesisruns",
    shortname = "srun",
    category = "scalequest",
    namespaced,
    status = "SynthesisRunStatus",
    derive = "PartialEq",
    crates(kube = "kube_derive", kube_core = "kube_core"),
    attr = "x_kube(crates(kube_core = \"kube_core\"))",
    doc = "A run that synthesizes a dataset of reasoning questions and responses."
)]
#[kube(
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "Phase of the run"
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.progress.summary",
        description = "Accepted pairs out of the target"
    ),
    printcolumn(
        name = "Percent",
        type_ = "integer",
        json_path = ".status.progress.percent",
        description = "Accepted pairs in percent of the target"
    ),
    printcolumn(
        name = "Wave",
        type_ = "integer",
        json_path = ".status.progress.wave",
        description = "The current wave"
    ),
    printcolumn(
        name = "ETA",
        type_ = "string",
        json_path = ".status.progress.eta",
        description = "Time left, estimated"
    ),
    printcolumn(
        name = "GPU-h",
        type_ = "string",
        json_path = ".status.estimate.gpuHours",
        description = "Total GPU hours, estimated",
        priority = 1
    ),
    printcolumn(
        name = "Cost",
        type_ = "string",
        json_path = ".status.usage.cost",
        description = "Money spent so far",
        priority = 1
    ),
    printcolumn(
        name = "Queue",
        type_ = "string",
        json_path = ".spec.queueName",
        description = "Kueue queue",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[kube(
    validation = rules::short_name(),
    validation = rules::fixed_once_accepted("recipe", true),
    validation = rules::fixed_once_accepted("domain", false),
    validation = rules::fixed_once_accepted("seed", true),
    validation = rules::fixed_once_accepted("models", true),
    validation = rules::fixed_once_accepted("seedQuestions", true),
    validation = rules::fixed_once_accepted("generators", true),
    validation = rules::fixed_once_accepted("filters", false),
    validation = rules::fixed_once_accepted("responses", true),
    validation = rules::fixed_once_accepted("reward", false),
    validation = rules::fixed_once_accepted("verification", false),
    validation = rules::fixed_once_accepted("workspace", true),
    validation = rules::fixed_once_accepted("output", true),
    validation = rules::target_only_grows(),
    validation = rules::target_rests_once_complete(),
    validation = rules::managed_by_never_changes()
)]
#[x_kube(
    crates(kube_core = "kube_core"),
    validation = rules::every_generator_is_of_a_model(),
    validation = rules::every_rewriter_is_a_model(),
    validation = rules::refers_to_a_model("responses.model", "true"),
    validation = rules::refers_to_a_model("reward.model", "has(self.reward) && has(self.reward.model)"),
    validation = rules::refers_to_a_model("filters.solvability.model", "has(self.filters) && has(self.filters.solvability) && has(self.filters.solvability.model)"),
    validation = rules::refers_to_a_model("filters.difficulty.base", "has(self.filters) && has(self.filters.difficulty)"),
    validation = rules::refers_to_a_model("filters.difficulty.solver", "has(self.filters) && has(self.filters.difficulty)"),
    validation = rules::difficulty_names_generators(),
    validation = rules::cost_has_a_price()
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SynthesisRunSpec {
    /// Table of defaults for what follows. Immutable once accepted.
    pub recipe: Recipe,
    /// Field of knowledge, which selects the prompts. Default: the recipe's. Immutable once accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
    /// Seed of the random number generators: same spec and seed, same bytes. Default: 0. Immutable once accepted.
    #[serde(default)]
    #[schemars(range(min = 0, max = 9007199254740991_i64))]
    pub seed: i64,
    /// Whether to suspend the run: running shards stop at their next checkpoint, none is started. Default: false. Mutable.
    #[serde(default)]
    pub suspend: bool,
    /// When the run is complete. Mutable: it may grow.
    pub target: Target,
    /// Limits that end the run early. The run resumes when they are raised. Mutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// The models, declared once and referred to by name. Immutable once accepted.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub models: Vec<Model>,
    /// Questions on which the generators are trained. Immutable once accepted.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub seed_questions: Vec<SeedQuestions>,
    /// The question generators. Immutable once accepted.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub generators: Vec<Generator>,
    /// Filters that drop questions. The order is fixed, cheap filters first. Default: the recipe's. Immutable once accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Filters>,
    /// How responses are generated. Immutable once accepted.
    pub responses: Responses,
    /// How responses are scored. Immutable once accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward: Option<Reward>,
    /// Requirements on final answers. Default: the recipe's. Immutable once accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// Storage location of intermediate shards, trained models and checkpoints; runs may share it. Immutable once accepted.
    pub workspace: StorageLocation,
    /// Storage location of the published dataset, and of nothing else. Immutable once accepted.
    pub output: StorageLocation,
    /// Endpoints and credentials of object stores; on one machine the usual environment variables work as well. Mutable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 0, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["prefix".into()]))]
    pub stores: Vec<Store>,
    /// Cache of models with a source `hub` or `uri`; without it every pod that uses one fetches it. Cluster only: one machine has its own
    /// cache. Mutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_cache: Option<ModelCache>,
    /// Kueue queue. Cluster only. Mutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub queue_name: Option<String>,
    /// Name of the controller that reconciles this run. Cluster only. Default: `scalequest.dev/operator`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub managed_by: Option<String>,
    /// Priority class of the pods. Cluster only. Mutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// Service account of the pods, for workload identity. Cluster only. Mutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: Option<String>,
    /// Seconds after its end, at its target or at a limit, at which the run and the objects that it owns are deleted; dataset and workspace remain. Cluster only. Mutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2147483647))]
    pub ttl_seconds_after_finished: Option<i32>,
    /// Resources and placement of the stages' pods. Cluster only. Mutable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 0, max = 14))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub pods: Vec<PodSettings>,
    /// When failed shards fail the run. Mutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_policy: Option<FailurePolicy>,
}

impl SynthesisRunSpec {
    /// Returns the benchmarks of the contamination filter; none if it is off.
    pub fn benchmarks(&self) -> &[Benchmark] {
        let filters = self.filters.as_ref();
        let contamination = filters.and_then(|filters| filters.contamination.as_ref());
        contamination.map_or(&[], |on| &on.benchmarks)
    }
}

/// When the run is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// Target number of accepted pairs, at least 1. All accepted pairs are published, so there may be more.
    #[schemars(range(min = 1, max = 100000000))]
    pub examples: i64,
    /// Waves after which the run ends early. Default: 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub max_waves: Option<i32>,
    /// Whether the run waits for approval after its first wave. Default: Automatic. Mutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
}

/// Who decides that a run continues after its first wave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    /// Nobody: it continues.
    #[default]
    Automatic,
    /// The first wave is a pilot. The run then waits, with the estimate in `status.estimate`, for the annotation `scalequest.dev/approve` or an edit of
    /// this field.
    AfterPilot,
}

/// Limits that end the run early; the pairs accepted so far are published.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    /// GPU hours (on a machine without a GPU: worker hours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0001, max = 10000000.0))]
    pub gpu_hours: Option<f64>,
    /// Money, a decimal string. Needs `pricePerGpuHour`, or an endpoint with `prices`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[schemars(regex(pattern = patterns::DECIMAL))]
    pub cost: Option<String>,
    /// ISO 4217 code of the currency. Default: USD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = patterns::CURRENCY))]
    #[schemars(length(min = 3, max = 3))]
    pub currency: Option<String>,
    /// Price of a GPU hour, a decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[schemars(regex(pattern = patterns::DECIMAL))]
    pub price_per_gpu_hour: Option<String>,
    /// Seconds from acceptance after which no stage starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 315360000))]
    pub deadline_seconds: Option<i64>,
}
