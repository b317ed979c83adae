//! Responses: how questions are answered, scored and verified.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::generator::Sampling;

/// How questions are answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Responses {
    /// Name of the model that answers.
    #[schemars(length(min = 1, max = 40))]
    pub model: String,
    /// Responses per question. Default: the recipe's (paper: 5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub samples: Option<i32>,
    /// How they are drawn. Default: the recipe's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// What form the final answer has. Default: the recipe's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_format: Option<AnswerFormat>,
}

/// The form of a final answer, which decides how it is found and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AnswerFormat {
    /// In `\boxed{}`, as mathematics models write it.
    Boxed,
    /// A fenced code block; two blocks agree if they are the same up to comments and white space.
    CodeBlock,
}

/// How responses are scored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reward {
    /// Name of the reward model: one with a scalar head, or a chat model, which is then asked as a verifier (probability of
    /// Yes). What an endpoint serves is found out before the run is accepted. Default: the model named in `responses`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40))]
    pub model: Option<String>,
}

/// What final answers must satisfy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verification {
    /// Agreement between the responses to a question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
}

/// Agreement between the responses to a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Agreement {
    /// Responses that must have the same final answer, 1 to `responses.samples`.
    #[schemars(range(min = 1, max = 256))]
    pub at_least: i32,
}
