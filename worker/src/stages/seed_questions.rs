//! The seed questions of a task: lines of its files, numbered over all of them.

use std::ops::Range;

use scalequest_crds::protocol::task::QuestionFile;

use super::StageError;
use crate::storage::question_files::{QuestionFileError, read_questions};

/// A seed question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedQuestion {
    /// Its number over all files, from 0.
    pub id: i64,
    /// The question.
    pub question: String,
    /// Its reference answer, if the file has one.
    pub answer: Option<String>,
}

/// Reads questions `rows` of all files, in order.
///
/// # Errors
/// A file cannot be read or has changed since the run was accepted, or the files have fewer questions.
pub fn read_seeds(
    files: &[QuestionFile],
    rows: Range<i64>,
) -> Result<Vec<SeedQuestion>, StageError> {
    let mut seeds = Vec::new();
    for file in files {
        let questions = read_questions(file)?;
        seeds.extend(
            questions
                .into_iter()
                .map(|question| (question.question, question.answer)),
        );
    }
    let total = seeds.len() as i64;
    if rows.end > total {
        return Err(StageError::Permanent(format!(
            "the task reads seed questions {}..{}, the files have {total}",
            rows.start, rows.end
        )));
    }
    let wanted = seeds
        .into_iter()
        .zip(0..)
        .filter(|(_, id)| rows.contains(id));
    Ok(wanted
        .map(|((question, answer), id)| SeedQuestion {
            id,
            question,
            answer,
        })
        .collect())
}

impl From<QuestionFileError> for StageError {
    fn from(error: QuestionFileError) -> Self {
        match error {
            QuestionFileError::Store(error) => error.into(),
            error => StageError::Permanent(error.to_string()),
        }
    }
}
