//! `sft_questions`: the seed questions on which each generator was fine-tuned.

use scalequest_crds::protocol::rows::SftRow;

use super::column::{long, text};
use super::{Column, Table};

/// A seed question with the generator that was fine-tuned on it.
pub struct SftQuestion {
    /// The generator.
    pub generator: String,
    /// The question.
    pub row: SftRow,
}

/// The table of QFT's questions.
pub struct SftQuestions;

impl Table for SftQuestions {
    type Row = SftQuestion;

    fn columns(rows: &[SftQuestion]) -> Vec<Column> {
        vec![
            long("id", rows.iter().map(|question| question.row.id)),
            text(
                "generator",
                rows.iter().map(|question| question.generator.as_str()),
            ),
            text(
                "question",
                rows.iter().map(|question| question.row.question.as_str()),
            ),
        ]
    }
}
