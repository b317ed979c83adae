//! Reject reasons: the closed set of reasons for which a question is dropped, as status counts them and the dataset names them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a question was dropped: the closed set, in the order of the funnel.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum RejectReason {
    /// The generated text is empty.
    Empty,
    /// The question reached the token limit before its end.
    Unfinished,
    /// Not in an accepted language.
    Language,
    /// Shares an n-gram with a benchmark.
    Contaminated,
    /// The same as an earlier question, up to case, punctuation and white space.
    ExactDuplicate,
    /// Near duplicate: nearly the same as an earlier question.
    NearDuplicate,
    /// Judged unsolvable.
    Unsolvable,
    /// The judge returned no verdict.
    NoVerdict,
    /// Predicted to be too easy.
    TooEasy,
    /// Longer than the model's context.
    PromptTooLong,
    /// The endpoint that serves the model rejected the request.
    Refused,
    /// No response has a final answer.
    NoFinalAnswer,
    /// Too few responses agree on a final answer.
    NoAgreement,
    /// The rewrite was empty, unchanged or no question (preference pairs only).
    BadRewrite,
    /// The shard of the row failed after all retries.
    ShardRetriesExhausted,
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
        RejectReason::ShardRetriesExhausted,
    ];
}
