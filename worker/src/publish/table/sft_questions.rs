//! `sft_questions`: the seed questions from which each generator learnt to ask.

use scalequest_crds::protocol::rows::SftRow;

use super::column::{long, text};
use super::{Column, Table};

/// A seed question with the generator that learnt from it.
pub struct Learnt {
    /// The generator.
    pub generator: String,
    /// The question.
    pub row: SftRow,
}

/// The table of QFT's questions.
pub struct SftQuestions;

impl Table for SftQuestions {
    type Row = Learnt;

    fn columns(rows: &[Learnt]) -> Vec<Column> {
        vec![
            long("id", rows.iter().map(|learnt| learnt.row.id)),
            text(
                "generator",
                rows.iter().map(|learnt| learnt.generator.as_str()),
            ),
            text(
                "question",
                rows.iter().map(|learnt| learnt.row.question.as_str()),
            ),
        ]
    }
}
