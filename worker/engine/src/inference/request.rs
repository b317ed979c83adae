//! What is asked of a generator, and what it answers.

use super::Sampling;

/// One row to generate.
#[derive(Clone, Debug)]
pub struct GenerateRequest {
    /// Keys the row's random numbers; unique within a stage.
    pub id: u64,
    /// The tokens before the generated ones; at least one.
    pub prompt: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The most tokens to generate; the model's context may allow fewer.
    pub max_new_tokens: usize,
    /// Tokens that end the row; not part of its result.
    pub stop_tokens: Vec<u32>,
    /// Texts that end the row, wherever tokens cut them; the result's text ends before the first.
    pub stop_strings: Vec<String>,
}

/// Why a row ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A stop token or a stop string came.
    Stop,
    /// `max_new_tokens`, or the end of the model's context.
    Length,
    /// The prompt leaves no room in the model's context; nothing was generated.
    PromptTooLong,
}

/// A finished row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// The request's id.
    pub id: u64,
    /// What was sampled, without a stop token. Where a stop string ended the row, its tokens are in here.
    pub tokens: Vec<u32>,
    /// The text, without special tokens, cut before a stop string.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
}

/// Progress of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rows finished.
    pub rows: usize,
    /// Prompt tokens of the rows admitted, whether computed or shared.
    pub prompt_tokens: u64,
    /// Tokens sampled.
    pub new_tokens: u64,
}
