//! `responses`: every response to every answered question, with its scores, chosen or not.

use scalequest_crds::protocol::rows::{QuestionRow, ResponseRow};

use super::column::{boolean, int, long, maybe_real, maybe_text, text};
use super::{Column, Table};

/// A response with its outcome.
pub struct PublishedResponse {
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
    /// Whether this response was chosen.
    pub chosen: bool,
}

impl PublishedResponse {
    /// Creates the rows of `question`; `chosen` is the index of the chosen response, if the question was accepted.
    pub fn all(
        question: &QuestionRow,
        responses: &[ResponseRow],
        chosen: Option<i32>,
    ) -> Vec<PublishedResponse> {
        let answer = |response: &ResponseRow| PublishedResponse {
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
    type Row = PublishedResponse;

    fn columns(rows: &[PublishedResponse]) -> Vec<Column> {
        let response = || rows.iter().map(|row| &row.response);
        vec![
            long("question_id", rows.iter().map(|row| row.question_id)),
            int("sample_index", response().map(|r| r.index)),
            text("response", response().map(|r| r.text.as_str())),
            int("response_tokens", response().map(|r| r.tokens)),
            boolean("finished", response().map(|r| r.finished)),
            maybe_text(
                "final_answer",
                response().map(|r| r.final_answer.as_deref()),
            ),
            maybe_real("reward", response().map(|r| r.reward)),
            boolean("chosen", rows.iter().map(|row| row.chosen)),
            boolean("accepted", rows.iter().map(|row| row.accepted)),
            text("generator", rows.iter().map(|row| row.generator.as_str())),
            int("wave", rows.iter().map(|row| row.wave)),
        ]
    }
}
