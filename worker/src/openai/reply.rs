//! The reply of an endpoint, the same for all its APIs.

use serde::{Deserialize, Serialize};

/// The reply to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reply {
    /// The text; reasoning that the server returns separately comes first, in `<think>` tags.
    pub text: String,
    /// Whether generation ended before the limit of tokens.
    pub finished: bool,
    /// Tokens of the prompt, if the server counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<i64>,
    /// Generated tokens, if the server counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_tokens: Option<i64>,
    /// The likeliest first tokens, if they were requested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top_logprobs: Vec<TokenLogprob>,
    /// The value of the scalar head, if it was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

impl Reply {
    /// Returns the tokens of prompt and reply, as far as the server counts them.
    pub fn tokens(&self) -> i64 {
        self.prompt_tokens.unwrap_or(0) + self.new_tokens.unwrap_or(0)
    }
}

/// A likely token with the logarithm of its probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// Its text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f64,
}

/// Why the body of a successful response is not a reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The body does not have the API's form.
    #[error("its reply is malformed ({0})")]
    Malformed(String),
    /// Another model replied.
    #[error("it replied as model `{0}`")]
    OtherModel(String),
    /// The requested log probabilities are missing.
    #[error(
        "it returns no log probabilities (logprobs), which the scores of responses need: use a server that does (vLLM, llama.cpp), or a reward model with a source"
    )]
    MissingLogprobs,
    /// The head has more than one output.
    #[error("its head has {0} outputs, a reward model has one")]
    MultipleValues(usize),
}

/// The server's token counts.
#[derive(Deserialize)]
pub(super) struct Usage {
    /// Of the prompt.
    #[serde(default)]
    pub(super) prompt_tokens: Option<i64>,
    /// Of the reply.
    #[serde(default)]
    pub(super) completion_tokens: Option<i64>,
}

/// Whether a reply of model `replied` can be from the model `requested`: servers add a date, a revision or the folder of its files.
pub(super) fn is_same_model(requested: &str, replied: &str) -> bool {
    let plain = |name: &str| {
        let last = name
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default();
        last.to_ascii_lowercase()
    };
    let (requested, replied) = (plain(requested), plain(replied));
    requested.is_empty()
        || replied.is_empty()
        || requested.starts_with(&replied)
        || replied.starts_with(&requested)
}
