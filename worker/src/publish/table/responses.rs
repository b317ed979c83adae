//! `responses`: every response to every question that was answered, with its scores, whether or not it was kept.

use scalequest_crds::protocol::rows::{QuestionRow, ResponseRow};

use super::column::{int, long, maybe_real, maybe_text, text, yes_no};
use super::{Column, Table};

/// A response with what became of it.
pub struct Answer {
    /// Id of the question.
    pub question_id: i64,
    /// Its generator.
    pub generator: String,
    /// Its wave.
    pub wave: i32,
    /// The response.
    pub response: ResponseRow,
    /// Whether the question was accepted.
    pub accepted: bool,
    /// Whether this is the response that was kept with it.
    pub chosen: bool,
}

impl Answer {
    /// The responses to `question`; `chosen` is the index of the one that was kept, if the question was accepted.
    pub fn all(
        question: &QuestionRow,
        responses: &[ResponseRow],
        chosen: Option<i32>,
    ) -> Vec<Answer> {
        let answer = |response: &ResponseRow| Answer {
            question_id: question.id,
            generator: question.generator.clone(),
            wave: question.wave,
            response: response.clone(),
            accepted: chosen.is_some(),
            chosen: chosen == Some(response.index),
        };
        responses.iter().map(answer).collect()
    }
}

/// The table of all responses.
pub struct Responses;

impl Table for Responses {
    type Row = Answer;

    fn columns(rows: &[Answer]) -> Vec<Column> {
        let response = || rows.iter().map(|row| &row.response);
        vec![
            long("question_id", rows.iter().map(|row| row.question_id)),
            int("sample_index", response().map(|r| r.index)),
            text("response", response().map(|r| r.text.as_str())),
            int("response_tokens", response().map(|r| r.tokens)),
            yes_no("finished", response().map(|r| r.finished)),
            maybe_text(
                "final_answer",
                response().map(|r| r.final_answer.as_deref()),
            ),
            maybe_real("reward", response().map(|r| r.reward)),
            yes_no("chosen", rows.iter().map(|row| row.chosen)),
            yes_no("accepted", rows.iter().map(|row| row.accepted)),
            text("generator", rows.iter().map(|row| row.generator.as_str())),
            int("wave", rows.iter().map(|row| row.wave)),
        ]
    }
}
