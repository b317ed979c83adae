//! Reject reasons: the closed set of reasons for which a question is dropped, as status counts them and the dataset names them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a question was dropped: the closed set, in the order of the funnel.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum RejectReason {
    /// Nothing but white space was drawn.
    Empty,
    /// The question hit the token limit before its end.
    Unfinished,
    /// Not in a language to keep.
    Language,
    /// Shares an n-gram with a benchmark.
    Contaminated,
    /// The same as an earlier question, up to case, punctuation and white space.
    ExactDuplicate,
    /// Nearly the same as an earlier question.
    NearDuplicate,
    /// Judged unsolvable.
    Unsolvable,
    /// The judge gave no verdict.
    NoVerdict,
    /// Predicted to be too easy.
    TooEasy,
    /// Longer than the model's context.
    PromptTooLong,
    /// The endpoint that serves the model refused to answer.
    Refused,
    /// No response has a final answer.
    NoFinalAnswer,
    /// Too few responses agree on a final answer.
    NoAgreement,
    /// The rewrite was empty, unchanged or no question (preference pairs only).
    BadRewrite,
    /// The row's shard was given up after repeated failures.
    ShardGivenUp,
}

impl RejectReason {
    /// Every reason, in the order of the funnel.
    pub const ALL: [RejectReason; 15] = [
        RejectReason::Empty,
        RejectReason::Unfinished,
        RejectReason::Language,
        RejectReason::Contaminated,
        RejectReason::ExactDuplicate,
        RejectReason::NearDuplicate,
        RejectReason::Unsolvable,
        RejectReason::NoVerdict,
        RejectReason::TooEasy,
        RejectReason::PromptTooLong,
        RejectReason::Refused,
        RejectReason::NoFinalAnswer,
        RejectReason::NoAgreement,
        RejectReason::BadRewrite,
        RejectReason::ShardGivenUp,
    ];
}
