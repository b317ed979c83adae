//! A stage task: all that a worker needs to know to do one stage of a run, resolved; nothing is looked up elsewhere.
//! Written by the operator (a file on one machine; in a cluster an annotation of its pods, or a ConfigMap where it is large), read by
//! `scalequest-worker`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::Stage;
use crate::run::model::hub_uri;
use crate::run::{AnswerFormat, Arithmetic, Domain, Lora, Model, Sampling, Tuning};

/// The version of this contract. A worker refuses a task of another version.
pub const TASK_VERSION: u32 = 1;

/// One stage of one run: what to do, with what, and where the output goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageTask {
    /// [`TASK_VERSION`] of the writer.
    pub version: u32,
    /// Name of the run, for logs and the dataset card.
    pub run: String,
    /// The stage.
    pub stage: Stage,
    /// The generator, where the stage is per generator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<String>,
    /// The wave (from 1), where the stage is per wave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<i32>,
    /// Content key of the output (64 hex digits).
    pub key: String,
    /// The run's seed.
    pub seed: i64,
    /// Rows of work in the stage: its input rows, or the questions to make.
    pub rows: i64,
    /// Rows in a shard; shard `i` covers rows `i*shard_rows .. min((i+1)*shard_rows, rows)`. At least 1.
    pub shard_rows: i64,
    /// Sealed outputs of earlier stages, in the order in which their rows count.
    pub inputs: Vec<TaskInput>,
    /// Workspace: a directory or an object store URI.
    pub workspace: String,
    /// What the stage is to do.
    pub params: StageParams,
}

impl StageTask {
    /// Content keys of the earlier stages that it reads: its inputs, and the one that trained its model.
    pub fn reads(&self) -> BTreeSet<String> {
        let mut keys: BTreeSet<String> =
            self.inputs.iter().map(|input| input.key.clone()).collect();
        let mut params = self.params.clone();
        if let Some(ModelUse {
            location: ModelLocation::Trained { key, .. },
            ..
        }) = params.model_mut()
        {
            keys.insert(key.clone());
        }
        keys
    }

    /// Number of shards: at least one, so that a stage without rows still makes a manifest.
    pub fn shards(&self) -> i64 {
        if self.stage.is_sharded() {
            self.rows.max(1).div_euclid(self.shard_rows.max(1))
                + i64::from(self.rows.max(1) % self.shard_rows.max(1) != 0)
        } else {
            1
        }
    }

    /// Global row range of shard `index`.
    pub fn range(&self, index: i64) -> std::ops::Range<i64> {
        if !self.stage.is_sharded() {
            return 0..self.rows;
        }
        let start = (index * self.shard_rows).min(self.rows);
        start..(start + self.shard_rows).min(self.rows)
    }
}

/// A sealed output that a task reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskInput {
    /// The stage that made it.
    pub stage: Stage,
    /// Its content key.
    pub key: String,
    /// The digest in its seal.
    pub digest: String,
    /// The generator it belongs to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<String>,
    /// The wave it belongs to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<i32>,
}

/// A model, resolved: where it lies and which bytes it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelUse {
    /// Name in `spec.models`, or the generator's name for a trained one.
    pub name: String,
    /// Where it lies.
    pub location: ModelLocation,
    /// SHA-256 of its files (an inspection's, or the training stage's seal); for an endpoint its
    /// [`identity`](crate::run::OpenAiEngine::identity).
    pub digest: String,
    /// How the built-in engine computes with it.
    #[serde(default)]
    pub arithmetic: Arithmetic,
    /// The server that the stage starts to have the model served; absent, where the built-in engine serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ModelServer>,
}

impl ModelUse {
    /// The same as a model to be trained, which computes in 32 bits however it is served.
    pub fn to_train(self) -> Self {
        Self {
            arithmetic: Arithmetic::Float32,
            ..self
        }
    }
}

/// A server that a stage starts for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelServer {
    /// Program and arguments; `{model}` and `{port}` are replaced.
    pub command: Vec<String>,
    /// Image of the container that runs it in a cluster; on one machine it is a child process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// The variable that holds the base URL of the server which runs beside a worker for its model. Where it is set, the worker starts none.
pub const SERVER_URL: &str = "SCALEQUEST_SERVER_URL";

/// Where a server beside a worker finds the model, a folder or a GGUF file, and the name under which it serves it.
pub const SERVED_MODEL: &str = "/served/model";

/// Where a model lies. Exactly one member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ModelLocation {
    /// A GGUF file, or a directory in the Hugging Face layout.
    Path(String),
    /// A repository of the Hugging Face hub, from which it is fetched.
    Hub(HubFiles),
    /// A GGUF file, or a directory in the Hugging Face layout, in an object store, from which it is fetched.
    Uri(String),
    /// The output of a training stage in the workspace.
    Trained {
        /// The training stage.
        stage: Stage,
        /// Its content key.
        key: String,
    },
    /// Served by somebody else.
    Endpoint(Endpoint),
}

impl ModelLocation {
    /// Where the model lies that `model` declares; none where it says nothing of that.
    pub fn declared(model: &Model) -> Option<ModelLocation> {
        if let Some(served) = model.served() {
            return Some(ModelLocation::Endpoint(Endpoint {
                base_url: served.base_url.clone(),
                model: served.model.clone(),
                concurrency: served.concurrency(),
            }));
        }
        let source = model.source.as_ref()?;
        match (&source.hub, &source.uri) {
            (Some(hub), _) => Some(ModelLocation::Hub(HubFiles {
                repo: hub.repo.clone(),
                revision: hub.revision.clone(),
                file: hub.file.clone(),
            })),
            (None, Some(uri)) => Some(ModelLocation::Uri(uri.clone())),
            (None, None) => Some(ModelLocation::Path(model.located()?.1)),
        }
    }

    /// Whether a worker fetches the model's files before it uses them.
    pub fn is_fetched(&self) -> bool {
        matches!(self, ModelLocation::Hub(_) | ModelLocation::Uri(_))
    }
}

/// A revision of a repository of the hub, without its token: that is in the environment
/// ([`token_variable`](crate::run::model::token_variable)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HubFiles {
    /// `owner/name`.
    pub repo: String,
    /// Commit: 40 hex digits.
    pub revision: String,
    /// The GGUF file to fetch, where the repository holds several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl std::fmt::Display for HubFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hub_uri(&self.repo, &self.revision, self.file.as_deref()))
    }
}

/// An OpenAI-compatible endpoint, without its key: that is in the environment ([`key_variable`](crate::run::model::key_variable)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// Base URL, up to and with `/v1`.
    pub base_url: String,
    /// Name under which the model is served there.
    pub model: String,
    /// Requests under way at once.
    pub concurrency: i32,
}

/// A JSONL file of questions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QuestionFile {
    /// Path or URI.
    pub location: String,
    /// Member of each line that holds the question.
    pub question_field: String,
    /// Member that holds the reference answer, if the file has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_field: Option<String>,
    /// SHA-256 of the file.
    pub digest: String,
}

/// What a stage is to do. The variant's name is the stage's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum StageParams {
    /// Train the generator on seed questions.
    Qft {
        /// Model to start from.
        model: ModelUse,
        /// System prompt put before every question; the template's default if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        system_prompt: Option<String>,
        /// Questions to learn from.
        seed_questions: Vec<QuestionFile>,
        /// Training settings.
        training: Training,
    },
    /// Sample questions from the fine-tuned generator.
    Sample {
        /// The fine-tuned generator.
        model: ModelUse,
        /// As in QFT.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        system_prompt: Option<String>,
        /// How to draw.
        sampling: Sampling,
    },
    /// Rewrite each question in one random direction.
    Rewrite {
        /// The rewriter.
        model: ModelUse,
        /// How to draw; temperature 0 is greedy.
        sampling: Sampling,
        /// Which prompts.
        domain: Domain,
    },
    /// Train the generator on preference pairs.
    Qpo {
        /// The fine-tuned generator: policy at the start, and frozen reference.
        model: ModelUse,
        /// As in QFT.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        system_prompt: Option<String>,
        /// DPO's beta (paper: 0.1).
        beta: f64,
        /// Training settings.
        training: Training,
    },
    /// Measure fail rates on seed questions with answers.
    Label {
        /// The solver.
        model: ModelUse,
        /// Seed questions; lines without an answer are passed over.
        seed_questions: Vec<QuestionFile>,
        /// Responses per question.
        samples: i32,
        /// How to draw.
        sampling: Sampling,
        /// How the final answer is found in a response.
        answer_format: AnswerFormat,
        /// Which prompts.
        domain: Domain,
    },
    /// Train the difficulty scorer.
    Scorer {
        /// Base model.
        model: ModelUse,
        /// Training settings.
        training: Training,
    },
    /// Make new questions.
    Generate {
        /// The trained generator.
        model: ModelUse,
        /// As in QFT.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        system_prompt: Option<String>,
        /// How to draw.
        sampling: Sampling,
        /// Id of the first question; row `i` gets `first_id + i`.
        first_id: i64,
    },
    /// Rule-based filters over all generated questions of a wave. Inputs: the wave's Generate outputs in generator order,
    /// then the Filter outputs of earlier waves, whose questions count as seen.
    Filter {
        /// Languages to keep (ISO 639-1); absent: no language filter.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        languages: Option<Vec<String>>,
        /// Word n-gram contamination; absent: off.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        contamination: Option<ContaminationParams>,
        /// Duplicates; absent: off.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duplicates: Option<DuplicateParams>,
    },
    /// Judge solvability.
    Judge {
        /// The judge.
        model: ModelUse,
        /// How to draw; temperature 0 is greedy.
        sampling: Sampling,
        /// Which prompts.
        domain: Domain,
    },
    /// Predict difficulty and drop what is too easy.
    Rate {
        /// The trained scorer.
        model: ModelUse,
        /// Questions with a lower predicted fail rate are dropped.
        minimum: f64,
        /// Generators to which the minimum applies; others are rated only.
        generators: Vec<String>,
    },
    /// Answer each question `samples` times.
    Respond {
        /// The responder.
        model: ModelUse,
        /// Responses per question.
        samples: i32,
        /// How to draw.
        sampling: Sampling,
        /// What form the final answer has.
        answer_format: AnswerFormat,
        /// Which prompts.
        domain: Domain,
    },
    /// Score every response.
    Reward {
        /// The reward model: with a scalar head, or a chat model asked as a verifier.
        model: ModelUse,
        /// Which prompts (verifier).
        domain: Domain,
        /// Whether a server or an endpoint is asked for the value of the model's head (`/pooling`), and not for a word. The built-in engine
        /// sees which head a model has.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pooled: bool,
    },
    /// Compare final answers, choose the best response.
    Verify {
        /// Final answers that must agree; 1 asks for a final answer only.
        at_least: i32,
        /// How the final answer is found in a response.
        answer_format: AnswerFormat,
    },
    /// Write the dataset. Inputs: all sealed stages of the run, in run order.
    Publish {
        /// What the dataset says of itself.
        publication: Publication,
    },
}

impl StageParams {
    /// The model that the stage trains or asks, where it has one.
    pub fn model_mut(&mut self) -> Option<&mut ModelUse> {
        match self {
            StageParams::Qft { model, .. }
            | StageParams::Sample { model, .. }
            | StageParams::Rewrite { model, .. }
            | StageParams::Qpo { model, .. }
            | StageParams::Label { model, .. }
            | StageParams::Scorer { model, .. }
            | StageParams::Generate { model, .. }
            | StageParams::Judge { model, .. }
            | StageParams::Rate { model, .. }
            | StageParams::Respond { model, .. }
            | StageParams::Reward { model, .. } => Some(model),
            StageParams::Filter { .. }
            | StageParams::Verify { .. }
            | StageParams::Publish { .. } => None,
        }
    }

    /// The stage to which these parameters belong.
    pub fn stage(&self) -> Stage {
        match self {
            StageParams::Qft { .. } => Stage::Qft,
            StageParams::Sample { .. } => Stage::Sample,
            StageParams::Rewrite { .. } => Stage::Rewrite,
            StageParams::Qpo { .. } => Stage::Qpo,
            StageParams::Label { .. } => Stage::Label,
            StageParams::Scorer { .. } => Stage::Scorer,
            StageParams::Generate { .. } => Stage::Generate,
            StageParams::Filter { .. } => Stage::Filter,
            StageParams::Judge { .. } => Stage::Judge,
            StageParams::Rate { .. } => Stage::Rate,
            StageParams::Respond { .. } => Stage::Respond,
            StageParams::Reward { .. } => Stage::Reward,
            StageParams::Verify { .. } => Stage::Verify,
            StageParams::Publish { .. } => Stage::Publish,
        }
    }
}

/// Settings of a training stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Training {
    /// Passes over the data.
    pub epochs: i32,
    /// Peak learning rate; cosine to zero after the warm-up.
    pub learning_rate: f64,
    /// Warm-up as a share of all steps.
    pub warmup_ratio: f64,
    /// Longest sequence in tokens.
    pub max_length: i32,
    /// Sequences (packed ones in QFT, pairs in QPO, rows in the scorer) per step.
    pub batch_size: i32,
    /// Which parameters are trained.
    pub tuning: Tuning,
    /// Adapter settings, with tuning `Lora`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
    /// Steps between checkpoints.
    pub checkpoint_steps: i32,
}

/// Settings of the contamination filter (paper, section 4.4: 13-grams).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContaminationParams {
    /// Words in a shared n-gram that make a question contaminated.
    pub ngram: i32,
    /// Benchmarks to keep out.
    pub benchmarks: Vec<QuestionFile>,
}

/// Settings of the duplicate filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DuplicateParams {
    /// Estimated Jaccard similarity of word shingles from which two questions are near duplicates.
    pub similarity: f64,
}

/// What the publish stage needs beyond its inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Publication {
    /// Where the dataset goes: a directory or an object store URI.
    pub location: String,
    /// The run's name, and so the dataset's.
    pub name: String,
    /// Examples asked for.
    pub target: i64,
    /// Why the run ended short of its target, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short: Option<String>,
    /// The resolved SynthesisRun as YAML: running it again gives the same bytes.
    pub resolved_spec: String,
    /// Every model of the run with its part in it and the licence its files name, for the card.
    pub models: Vec<PublishedModel>,
    /// Seconds and money by stage, for the report page. Shown on the report page only: data files depend on content alone.
    pub costs: Vec<StageCost>,
}

/// A model named in the dataset card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublishedModel {
    /// Name in `spec.models`.
    pub name: String,
    /// Hub repository, file name or path's last part.
    pub source: String,
    /// SHA-256 of its files.
    pub digest: String,
    /// Licence as the model's own files name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Parts it played: generator, rewriter, judge, responder, reward, ...
    pub roles: Vec<String>,
}

/// What a stage has cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageCost {
    /// The stage.
    pub stage: Stage,
    /// The generator, if per generator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<String>,
    /// The wave, if per wave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<i32>,
    /// Worker time in milliseconds, failed attempts included.
    pub worker_millis: i64,
    /// Prompt tokens read.
    pub tokens_in: i64,
    /// Tokens made.
    pub tokens_out: i64,
}
