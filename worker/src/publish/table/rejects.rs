//! `rejects` and `preference_rejects`: every dropped question with the stage that dropped it and why.

use scalequest_crds::row::{Reason, RejectRow};

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
pub fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::Empty => "Empty",
        Reason::Unfinished => "Unfinished",
        Reason::Language => "Language",
        Reason::Contaminated => "Contaminated",
        Reason::ExactDuplicate => "ExactDuplicate",
        Reason::NearDuplicate => "NearDuplicate",
        Reason::Unsolvable => "Unsolvable",
        Reason::NoVerdict => "NoVerdict",
        Reason::TooEasy => "TooEasy",
        Reason::PromptTooLong => "PromptTooLong",
        Reason::Refused => "Refused",
        Reason::NoFinalAnswer => "NoFinalAnswer",
        Reason::NoAgreement => "NoAgreement",
        Reason::BadRewrite => "BadRewrite",
        Reason::ShardGivenUp => "ShardGivenUp",
    }
}

/// A reason in words.
pub fn reason_words(reason: Reason) -> &'static str {
    match reason {
        Reason::Empty => "nothing but white space was drawn",
        Reason::Unfinished => "cut at the token limit before its end",
        Reason::Language => "not in a language to keep",
        Reason::Contaminated => "shares an n-gram with a benchmark",
        Reason::ExactDuplicate => "the same as an earlier question",
        Reason::NearDuplicate => "nearly the same as an earlier question",
        Reason::Unsolvable => "judged unsolvable",
        Reason::NoVerdict => "the judge gave no verdict",
        Reason::TooEasy => "predicted to be too easy",
        Reason::PromptTooLong => "longer than the model's context",
        Reason::Refused => "the endpoint that serves the model refused to answer",
        Reason::NoFinalAnswer => "no response has a final answer",
        Reason::NoAgreement => "too few responses agree on a final answer",
        Reason::BadRewrite => "the rewrite was empty, unchanged or no question",
        Reason::ShardGivenUp => "its shard was given up after repeated failures",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_contract() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason_name(reason));
        }
    }
}
