//! Question files: JSON lines with a question in one member and, where there is one, its reference answer in another. A
//! file that cannot serve is refused with its name and line. It does not judge the questions.

use scalequest_crds::digest::sha256_hex;
use scalequest_crds::protocol::preflight::FileFacts;
use scalequest_crds::protocol::task::QuestionFile;
use serde_json::{Map, Value};

use super::store::{Access, StoreError, read_location};

/// Member names whose edit distance is at most this are offered as the nearest.
const NEAR: usize = 3;

/// A question from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileQuestion {
    /// Line in the file, from 1.
    pub line: usize,
    /// The question.
    pub question: String,
    /// Its reference answer, where the line has one.
    pub answer: Option<String>,
}

/// Why a question file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JsonlError {
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its content cannot serve.
    #[error("{location}: {problem}")]
    File {
        /// Path or URI.
        location: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A line cannot serve.
    #[error("{location}, line {line}: {problem}")]
    Line {
        /// Path or URI.
        location: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong and what to do.
        problem: String,
    },
}

/// Reads the questions of a task's file, in order, and checks that it is the very file that the run was accepted with.
pub fn read_questions(file: &QuestionFile) -> Result<Vec<FileQuestion>, JsonlError> {
    let bytes = read_location(&file.location, &Access::from_env())?;
    let digest = sha256_hex(&bytes);
    if digest != file.digest {
        return Err(JsonlError::File {
            location: file.location.clone(),
            problem: format!(
                "the file changed since the run was accepted: its digest is {digest}, the run knows {}; put the old file back or start a new run",
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

/// What a question file holds, or why it cannot be used: a first look, which waits for a store only for seconds.
pub fn inspect_questions(
    location: &str,
    question_field: &str,
    answer_field: Option<&str>,
) -> Result<FileFacts, JsonlError> {
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

/// The questions in `bytes`; `location` is for messages. Empty lines are passed over. An answer may be a string or a
/// number; a line without one has none, but a file in which no line has one is refused.
pub fn parse_questions(
    location: &str,
    bytes: &[u8],
    question_field: &str,
    answer_field: Option<&str>,
) -> Result<Vec<FileQuestion>, JsonlError> {
    let refuse = |problem: &str| JsonlError::File {
        location: location.to_string(),
        problem: problem.to_string(),
    };
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return Err(refuse("the file is compressed: unpack it first (gunzip)"));
    }
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut questions = Vec::new();
    let mut members = None;
    for (line, text) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let at_line = |problem| JsonlError::Line {
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
        return Err(refuse(
            "the file has no questions: write one JSON object a line",
        ));
    };
    match answer_field {
        Some(field) if questions.iter().all(|question| question.answer.is_none()) => Err(refuse(
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
            Err("the file is one JSON document, not JSON lines: write one object a line".into())
        }
        Err(error) => Err(format!(
            "not JSON, column {}: {}",
            error.column(),
            reason(&error)
        )),
    }
}

/// The parser's message without its own line number, which counts within our line.
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
        .filter(|(distance, _)| *distance <= NEAR)
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
