//! What an endpoint answers, whichever API it was asked by.

use serde::{Deserialize, Serialize};

/// What an endpoint answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reply {
    /// The text; a reasoning that the server sets apart comes first, in `<think>` tags.
    pub text: String,
    /// Whether it ended by itself.
    pub finished: bool,
    /// Tokens of the prompt, where the server counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<i64>,
    /// Tokens drawn, where the server counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_tokens: Option<i64>,
    /// The likeliest first tokens, where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Alternative>,
    /// The value, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

impl Reply {
    /// Tokens of prompt and answer, as far as the server counts them.
    pub fn tokens(&self) -> i64 {
        self.prompt_tokens.unwrap_or(0) + self.new_tokens.unwrap_or(0)
    }
}

/// A token that might have come, with the logarithm of its probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// Its text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f64,
}

/// Why the body of a successful response is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoReply {
    /// It is nothing of the kind; what is wrong with it.
    #[error("what it answered is no such answer ({0})")]
    Garbage(String),
    /// Another model answered.
    #[error("it answered as model `{0}`")]
    OtherModel(String),
    /// The probabilities that were asked for are missing.
    #[error(
        "it gives no probabilities (logprobs), by which responses are scored: use a server that does (vLLM, llama.cpp), or a reward model with a source"
    )]
    NoProbabilities,
    /// Not one value came, but so many.
    #[error("its head gives {0} numbers where a reward model gives one")]
    ManyValues(usize),
}

/// Tokens as a server counts them.
#[derive(Deserialize)]
pub(super) struct Usage {
    /// Of the prompt.
    #[serde(default)]
    pub(super) prompt_tokens: Option<i64>,
    /// Of the answer.
    #[serde(default)]
    pub(super) completion_tokens: Option<i64>,
}

/// Whether `answered` can be the model called `asked`: servers add a date, a revision or the folder of its files.
pub(super) fn is_same_model(asked: &str, answered: &str) -> bool {
    let plain = |name: &str| {
        let last = name
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default();
        last.to_ascii_lowercase()
    };
    let (asked, answered) = (plain(asked), plain(answered));
    asked.is_empty()
        || answered.is_empty()
        || asked.starts_with(&answered)
        || answered.starts_with(&asked)
}
