//! The rows that pass from stage to stage.

use serde::{Deserialize, Serialize};

use crate::v1alpha1::{RejectReason, Stage};

/// A question of a wave. Later stages fill in their results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QuestionRow {
    /// Global question id: unique in the run, the same in every execution of it.
    pub id: i64,
    /// The generator that generated it.
    pub generator: String,
    /// The wave it belongs to (0: sampled for preference pairs).
    pub wave: i32,
    /// The question.
    pub question: String,
    /// Tokens that the generator sampled for it.
    pub question_tokens: i32,
    /// Predicted fail rate in 0..=1, if difficulty is scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difficulty: Option<f64>,
}

/// A question with its responses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnsweredRow {
    /// The question.
    pub question: QuestionRow,
    /// Its responses, by sample index.
    pub responses: Vec<ResponseRow>,
}

/// One response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResponseRow {
    /// Sample index, from 0.
    pub index: i32,
    /// The text.
    pub text: String,
    /// Tokens sampled for it.
    pub tokens: i32,
    /// Whether it ended by itself (false: cut at the token limit).
    pub finished: bool,
    /// The final answer in normal form, if one was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_answer: Option<String>,
    /// Its reward: a scalar head's value, or a verifier's probability of Yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward: Option<f64>,
}

/// An accepted pair: the question, all its responses, and the chosen one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AcceptedRow {
    /// The question and all its responses.
    pub answered: AnsweredRow,
    /// Index of the chosen response.
    pub chosen: i32,
    /// How many responses agree with its final answer, itself included.
    pub agreement: i32,
}

/// A preference pair for QPO.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreferenceRow {
    /// Id of the sampled question.
    pub id: i64,
    /// The generator.
    pub generator: String,
    /// In which direction it was rewritten.
    pub direction: Direction,
    /// The rewrite.
    pub chosen: String,
    /// The original.
    pub rejected: String,
}

/// A seed question with the solver's measured fail rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelRow {
    /// Row of the seed question, over all files.
    pub id: i64,
    /// The question.
    pub question: String,
    /// Share of wrong responses.
    pub fail_rate: f64,
    /// Responses sampled.
    pub samples: i32,
}

/// A question that QFT trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SftRow {
    /// Row of the seed question, over all files.
    pub id: i64,
    /// The question.
    pub question: String,
}

/// A dropped row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RejectRow {
    /// The stage that dropped it.
    pub stage: Stage,
    /// Why.
    pub reason: RejectReason,
    /// The question with the results so far.
    pub question: QuestionRow,
    /// What led to the decision (the matching id, the n-gram, the verdict), at most 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Responses, if there were any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub responses: Vec<ResponseRow>,
}

/// The direction of a rewrite (paper, section 3.2: one at random, never both).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// Make it solvable: complete, consistent, unambiguous.
    Solvability,
    /// Make it harder, still solvable.
    Difficulty,
}
