//! Responses: how questions are answered, scored and verified.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::generator::Sampling;

/// How responses are generated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Responses {
    /// Name of the model that responds.
    #[schemars(length(min = 1, max = 40))]
    pub model: String,
    /// Responses per question. Default: the recipe's (paper: 5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub samples: Option<i32>,
    /// Sampling settings. Default: the recipe's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// Form of the final answer. Default: the recipe's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_format: Option<AnswerFormat>,
}

/// The form of a final answer, which decides how it is extracted and compared.
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
    /// Name of the reward model: one with a scalar head, or a chat model, which is then used as a verifier (probability of Yes). Preflight
    /// finds out which of the two an endpoint serves. Default: the model named in `responses`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40))]
    pub model: Option<String>,
}

/// Requirements on final answers.
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
