//! Question files: JSON lines with a question in one member and optionally its reference answer in another. An invalid file is rejected with its
//! name and line. It does not judge the questions.

use scalequest_crds::digest::sha256_hex;
use scalequest_crds::protocol::preflight::FileFacts;
use scalequest_crds::protocol::task::QuestionFile;
use serde_json::{Map, Value};

use super::store::{Access, StoreError, read_location};

/// Largest edit distance of a member name that an error suggests.
const MAX_EDIT_DISTANCE: usize = 3;

/// A question from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileQuestion {
    /// Line in the file, from 1.
    pub line: usize,
    /// The question.
    pub question: String,
    /// Its reference answer, if the line has one.
    pub answer: Option<String>,
}

/// Why a question file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum QuestionFileError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file is invalid.
    #[error("{location}: {problem}")]
    File {
        /// Path or URI.
        location: String,
        /// The problem, with advice.
        problem: String,
    },
    /// A line is invalid.
    #[error("{location}, line {line}: {problem}")]
    Line {
        /// Path or URI.
        location: String,
        /// Line, from 1.
        line: usize,
        /// The problem, with advice.
        problem: String,
    },
}

/// Reads the questions of a task's file, in order, and checks that the file is the one that the run was accepted with.
pub fn read_questions(file: &QuestionFile) -> Result<Vec<FileQuestion>, QuestionFileError> {
    let bytes = read_location(&file.location, &Access::from_env())?;
    let digest = sha256_hex(&bytes);
    if digest != file.digest {
        return Err(QuestionFileError::File {
            location: file.location.clone(),
            problem: format!(
                "the file changed since the run was accepted: its digest is {digest}, the accepted one is {}; restore the file or start a new run",
                file.digest
            ),
        });
    }
    parse_questions(
        &file.location,
        &bytes,
        &file.question_field,
        file.answer_field.as_deref(),
    )
}

/// Checks a question file for the preflight and returns its facts; waits only a few seconds for a store.
pub fn check_questions(
    location: &str,
    question_field: &str,
    answer_field: Option<&str>,
) -> Result<FileFacts, QuestionFileError> {
    let bytes = read_location(location, &Access::for_probe())?;
    let questions = parse_questions(location, &bytes, question_field, answer_field)?;
    Ok(FileFacts {
        location: location.to_string(),
        digest: sha256_hex(&bytes),
        rows: questions.len() as i64,
        with_answers: questions
            .iter()
            .filter(|question| question.answer.is_some())
            .count() as i64,
    })
}

/// Parses the questions in `bytes`; `location` is for messages. Empty lines are skipped. An answer may be a string or a number; a line may lack
/// one, but if no line has one the file is rejected.
pub fn parse_questions(
    location: &str,
    bytes: &[u8],
    question_field: &str,
    answer_field: Option<&str>,
) -> Result<Vec<FileQuestion>, QuestionFileError> {
    let reject = |problem: &str| QuestionFileError::File {
        location: location.to_string(),
        problem: problem.to_string(),
    };
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return Err(reject("the file is compressed: unpack it first (gunzip)"));
    }
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut questions = Vec::new();
    let mut members = None;
    for (line, text) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let at_line = |problem| QuestionFileError::Line {
            location: location.to_string(),
            line,
            problem,
        };
        let text = text.trim_ascii();
        if text.is_empty() {
            continue;
        }
        let object = parse_line(text, line, bytes).map_err(at_line)?;
        let question = question_of(&object, question_field).map_err(at_line)?;
        let answer = answer_field
            .map(|field| answer_of(&object, field))
            .transpose()
            .map_err(at_line)?
            .flatten();
        questions.push(FileQuestion {
            line,
            question,
            answer,
        });
        members.get_or_insert(object);
    }
    let Some(members) = members else {
        return Err(reject(
            "the file has no questions: write one JSON object per line",
        ));
    };
    match answer_field {
        Some(field) if questions.iter().all(|question| question.answer.is_none()) => Err(reject(
            &format!("no line has an answer: {}", missing(&members, field)),
        )),
        _ => Ok(questions),
    }
}

fn parse_line(text: &[u8], line: usize, all: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(format!("expected a JSON object, found {}", kind(&other))),
        Err(_) if std::str::from_utf8(text).is_err() => Err("not UTF-8 text".into()),
        Err(_) if line == 1 && serde_json::from_slice::<Value>(all).is_ok() => {
            Err("the file is one JSON document, not JSON lines: write one object per line".into())
        }
        Err(error) => Err(format!(
            "not JSON, column {}: {}",
            error.column(),
            reason(&error)
        )),
    }
}

/// Returns the parser's message without its line number, which counts within the line.
fn reason(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message
        .split(" at line ")
        .next()
        .unwrap_or(&message)
        .to_string()
}

fn question_of(object: &Map<String, Value>, field: &str) -> Result<String, String> {
    match object.get(field) {
        Some(Value::String(question)) if question.trim().is_empty() => {
            Err(format!("member {field:?} is empty"))
        }
        Some(Value::String(question)) => Ok(question.clone()),
        Some(other) => Err(format!(
            "member {field:?} must be a string, found {}",
            kind(other)
        )),
        None => Err(missing(object, field)),
    }
}

fn answer_of(object: &Map<String, Value>, field: &str) -> Result<Option<String>, String> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(answer)) if answer.trim().is_empty() => Ok(None),
        Some(Value::String(answer)) => Ok(Some(answer.clone())),
        Some(Value::Number(answer)) => Ok(Some(answer.to_string())),
        Some(other) => Err(format!(
            "member {field:?} must be a string or a number, found {}",
            kind(other)
        )),
    }
}

fn missing(object: &Map<String, Value>, field: &str) -> String {
    let nearest = object
        .keys()
        .map(|name| {
            (
                strsim::levenshtein(&name.to_lowercase(), &field.to_lowercase()),
                name,
            )
        })
        .filter(|(distance, _)| *distance <= MAX_EDIT_DISTANCE)
        .min();
    let names: Vec<_> = object
        .keys()
        .take(12)
        .map(|name| format!("{name:?}"))
        .collect();
    match nearest {
        Some((_, name)) => format!("there is no member {field:?}; did you mean {name:?}?"),
        None if names.is_empty() => format!("there is no member {field:?}; the object is empty"),
        None => format!(
            "there is no member {field:?}; the members are {}",
            names.join(", ")
        ),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
