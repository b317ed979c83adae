//! What a worker finds when it looks at everything that a spec refers to, before anything is started: the facts that the
//! planner needs (sizes, digests), and every fault a person must mend, all at once.

use serde::{Deserialize, Serialize};

/// The result of an inspection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inspection {
    /// One for each entry of `spec.models` that could be read, in order.
    pub models: Vec<ModelFacts>,
    /// One for each entry of `spec.seedQuestions` that could be read, in order.
    pub seed_questions: Vec<FileFacts>,
    /// One for each benchmark of the contamination filter that could be read, in order.
    pub benchmarks: Vec<FileFacts>,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// What is odd but no obstacle.
    #[serde(default)]
    pub warnings: Vec<Fault>,
}

/// What a model is, from its headers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelFacts {
    /// Name in `spec.models`.
    pub name: String,
    /// SHA-256 of its files.
    pub digest: String,
    /// Architecture, e.g. `qwen2`.
    pub architecture: String,
    /// Number of parameters.
    pub parameters: i64,
    /// Bytes of memory to serve it, without what it keeps of the texts under way.
    pub serving_bytes: i64,
    /// Bytes that each token of a text under way takes more, over all texts that are served at once.
    #[serde(default)]
    pub context_token_bytes: i64,
    /// Bytes of memory to train it in full.
    pub training_bytes: i64,
    /// Longest context in tokens.
    pub context_length: i64,
    /// Whether it has a chat template.
    pub has_chat_template: bool,
    /// `languageModel`, `scalar` or `classes`.
    pub head: String,
    /// Licence that its files name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
}

/// What a JSONL file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileFacts {
    /// Path or URI.
    pub location: String,
    /// SHA-256 of its bytes.
    pub digest: String,
    /// Questions in it.
    pub rows: i64,
    /// Questions with an answer.
    pub with_answers: i64,
}

/// Something wrong with the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Path of the field, e.g. `spec.models[1].source.path`.
    pub field: String,
    /// What is wrong and what to do, lower case, no full stop.
    pub message: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}
