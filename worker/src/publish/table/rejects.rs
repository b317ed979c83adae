//! `rejects` and `preference_rejects`: every dropped question with the stage that dropped it and why.

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

/// A reason's name in files, as in status and reports.
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
        RejectReason::ShardGivenUp => "ShardGivenUp",
    }
}

/// A reason in words.
pub fn reason_words(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::Empty => "nothing but white space was drawn",
        RejectReason::Unfinished => "cut at the token limit before its end",
        RejectReason::Language => "not in a language to keep",
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
        RejectReason::ShardGivenUp => "its shard was given up after repeated failures",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_contract() {
        for reason in RejectReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason_name(reason));
        }
    }
}
