//! `rejects` and `preference_rejects`: every rejected question with its stage and reason.

use scalequest_crds::protocol::rows::RejectRow;
use scalequest_crds::v1alpha1::RejectReason;

use super::column::{int, long, maybe_real, maybe_text, text};
use super::{Column, Table};

/// The table of rejected questions.
pub struct Rejects;

impl Table for Rejects {
    type Row = RejectRow;

    fn columns(rows: &[RejectRow]) -> Vec<Column> {
        let question = || rows.iter().map(|row| &row.question);
        vec![
            long("id", question().map(|q| q.id)),
            text("stage", rows.iter().map(|row| row.stage.slug())),
            text("reason", rows.iter().map(|row| reason_name(row.reason))),
            maybe_text("detail", rows.iter().map(|row| row.detail.as_deref())),
            text("question", question().map(|q| q.question.as_str())),
            int("question_tokens", question().map(|q| q.question_tokens)),
            maybe_real("difficulty", question().map(|q| q.difficulty)),
            text("generator", question().map(|q| q.generator.as_str())),
            int("wave", question().map(|q| q.wave)),
            int(
                "response_count",
                rows.iter().map(|row| row.responses.len() as i32),
            ),
        ]
    }
}

/// Returns a reason's name in files, which is the one in status and reports.
pub fn reason_name(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::Empty => "Empty",
        RejectReason::Unfinished => "Unfinished",
        RejectReason::Language => "Language",
        RejectReason::Contaminated => "Contaminated",
        RejectReason::ExactDuplicate => "ExactDuplicate",
        RejectReason::NearDuplicate => "NearDuplicate",
        RejectReason::Unsolvable => "Unsolvable",
        RejectReason::NoVerdict => "NoVerdict",
        RejectReason::TooEasy => "TooEasy",
        RejectReason::PromptTooLong => "PromptTooLong",
        RejectReason::Refused => "Refused",
        RejectReason::NoFinalAnswer => "NoFinalAnswer",
        RejectReason::NoAgreement => "NoAgreement",
        RejectReason::BadRewrite => "BadRewrite",
        RejectReason::ShardRetriesExhausted => "ShardRetriesExhausted",
    }
}

/// Returns the description of a reason.
pub fn reason_description(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::Empty => "only white space was generated",
        RejectReason::Unfinished => "cut at the token limit before its end",
        RejectReason::Language => "not in a kept language",
        RejectReason::Contaminated => "shares an n-gram with a benchmark",
        RejectReason::ExactDuplicate => "the same as an earlier question",
        RejectReason::NearDuplicate => "nearly the same as an earlier question",
        RejectReason::Unsolvable => "judged unsolvable",
        RejectReason::NoVerdict => "the judge gave no verdict",
        RejectReason::TooEasy => "predicted to be too easy",
        RejectReason::PromptTooLong => "longer than the model's context",
        RejectReason::Refused => "the endpoint that serves the model refused to answer",
        RejectReason::NoFinalAnswer => "no response has a final answer",
        RejectReason::NoAgreement => "too few responses agree on a final answer",
        RejectReason::BadRewrite => "the rewrite was empty, unchanged or no question",
        RejectReason::ShardRetriesExhausted => "its shard was marked as failed after all retries",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_the_serialized_reasons() {
        for reason in RejectReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason_name(reason));
        }
    }
}
