//! The parameters of each stage.

use serde::{Deserialize, Serialize};

use super::{ModelUse, Publication};
use crate::v1alpha1::{AnswerFormat, Domain, Lora, Sampling, Stage, Tuning};

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

/// The parameters of a stage. The variant has the name of the stage.
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
        /// Questions to train on.
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
        /// Sampling settings.
        sampling: Sampling,
    },
    /// Rewrite each question in one random direction.
    Rewrite {
        /// The rewriter.
        model: ModelUse,
        /// Sampling settings; temperature 0 is greedy.
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
        /// Seed questions; lines without an answer are skipped.
        seed_questions: Vec<QuestionFile>,
        /// Responses per question.
        samples: i32,
        /// Sampling settings.
        sampling: Sampling,
        /// How the final answer is extracted from a response.
        answer_format: AnswerFormat,
        /// Which prompts.
        domain: Domain,
    },
    /// Train the difficulty scorer.
    TrainScorer {
        /// Base model.
        model: ModelUse,
        /// Training settings.
        training: Training,
    },
    /// Generate new questions.
    Generate {
        /// The trained generator.
        model: ModelUse,
        /// As in QFT.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        system_prompt: Option<String>,
        /// Sampling settings.
        sampling: Sampling,
        /// Id of the first question; row `i` gets `first_id + i`.
        first_id: i64,
    },
    /// Apply the rule-based filters to all generated questions of a wave. Inputs: the wave's Generate outputs in generator order, then
    /// the Filter outputs of earlier waves, whose questions count as seen.
    Filter {
        /// Languages to accept (ISO 639-1); absent: no language filter.
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
        /// Sampling settings; temperature 0 is greedy.
        sampling: Sampling,
        /// Which prompts.
        domain: Domain,
    },
    /// Predict difficulty and drop questions that are too easy.
    Score {
        /// The trained scorer.
        model: ModelUse,
        /// Questions with a lower predicted fail rate are dropped.
        minimum: f64,
        /// Generators to which the minimum applies; questions of others are scored only.
        generators: Vec<String>,
    },
    /// Answer each question `samples` times.
    Respond {
        /// The responder.
        model: ModelUse,
        /// Responses per question.
        samples: i32,
        /// Sampling settings.
        sampling: Sampling,
        /// Form of the final answer.
        answer_format: AnswerFormat,
        /// Which prompts.
        domain: Domain,
    },
    /// Score every response.
    Reward {
        /// The reward model: one with a scalar head, or a chat model used as a verifier.
        model: ModelUse,
        /// Which prompts (verifier).
        domain: Domain,
        /// Whether a server or an endpoint returns the value of the model's head (`/pooling`) instead of text. The built-in engine reads
        /// from the model's files which head it has.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pooled: bool,
    },
    /// Compare final answers, choose the best response.
    Verify {
        /// Final answers that must agree; 1 requires only that there is a final answer.
        at_least: i32,
        /// How the final answer is extracted from a response.
        answer_format: AnswerFormat,
    },
    /// Write the dataset. Inputs: all sealed stages of the run, in run order.
    Publish {
        /// What the dataset says about itself.
        publication: Publication,
    },
}

impl StageParams {
    /// Returns the model that the stage trains or uses, or `None` if it has none.
    pub fn model_mut(&mut self) -> Option<&mut ModelUse> {
        match self {
            StageParams::Qft { model, .. }
            | StageParams::Sample { model, .. }
            | StageParams::Rewrite { model, .. }
            | StageParams::Qpo { model, .. }
            | StageParams::Label { model, .. }
            | StageParams::TrainScorer { model, .. }
            | StageParams::Generate { model, .. }
            | StageParams::Judge { model, .. }
            | StageParams::Score { model, .. }
            | StageParams::Respond { model, .. }
            | StageParams::Reward { model, .. } => Some(model),
            StageParams::Filter { .. }
            | StageParams::Verify { .. }
            | StageParams::Publish { .. } => None,
        }
    }

    /// Returns the stage to which these parameters belong.
    pub fn stage(&self) -> Stage {
        match self {
            StageParams::Qft { .. } => Stage::Qft,
            StageParams::Sample { .. } => Stage::Sample,
            StageParams::Rewrite { .. } => Stage::Rewrite,
            StageParams::Qpo { .. } => Stage::Qpo,
            StageParams::Label { .. } => Stage::Label,
            StageParams::TrainScorer { .. } => Stage::TrainScorer,
            StageParams::Generate { .. } => Stage::Generate,
            StageParams::Filter { .. } => Stage::Filter,
            StageParams::Judge { .. } => Stage::Judge,
            StageParams::Score { .. } => Stage::Score,
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
    /// Benchmarks whose questions must not be in the dataset.
    pub benchmarks: Vec<QuestionFile>,
}

/// Settings of the duplicate filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DuplicateParams {
    /// Estimated Jaccard similarity of word shingles from which two questions are near duplicates.
    pub similarity: f64,
}
