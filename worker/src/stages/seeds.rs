//! The seed questions of a task: lines of its files, numbered over all of them.

use std::ops::Range;

use scalequest_crds::protocol::task::QuestionFile;

use super::StageError;
use crate::storage::jsonl::{JsonlError, read_questions};

/// A seed question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedRow {
    /// Its number over all files, from 0.
    pub id: i64,
    /// The question.
    pub question: String,
    /// Its reference answer, where the file has one.
    pub answer: Option<String>,
}

/// Questions `rows` of all files in order.
///
/// # Errors
/// A file cannot be read, is not what the run was accepted with, or the files have fewer questions.
pub fn read_seeds(files: &[QuestionFile], rows: Range<i64>) -> Result<Vec<SeedRow>, StageError> {
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
        return Err(StageError::Task(format!(
            "the task reads seed questions {}..{}, the files have {total}",
            rows.start, rows.end
        )));
    }
    let wanted = seeds
        .into_iter()
        .zip(0..)
        .filter(|(_, id)| rows.contains(id));
    Ok(wanted
        .map(|((question, answer), id)| SeedRow {
            id,
            question,
            answer,
        })
        .collect())
}

impl From<JsonlError> for StageError {
    fn from(error: JsonlError) -> Self {
        match error {
            JsonlError::Store(error) => error.into(),
            error => StageError::Task(error.to_string()),
        }
    }
}
