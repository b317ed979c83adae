//! Reads a run from YAML. Everything wrong with its form is found at once: the text is read into a plain value first, and that is walked
//! against the schema of the CRD, so that every error has its field's path and no input can make the program panic.

mod schema;

use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::v1alpha1::SynthesisRun;
use serde_json::Value;

use crate::field_error::field_error;

pub use schema::{check_schema, check_value};

/// Largest file that is read, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;

/// The run that `text` describes.
///
/// # Errors
/// Every error of its form: the line, where it is no YAML; otherwise the path of each field that is unknown, missing, of a wrong type or
/// out of bounds.
pub fn parse(text: &str) -> Result<SynthesisRun, Vec<FieldError>> {
    let value = read_yaml(text).map_err(|error| vec![error])?;
    let errors = check_schema(&value);
    if !errors.is_empty() {
        return Err(errors);
    }
    serde_json::from_value(value).map_err(|e| vec![field_error("(document)", e.to_string())])
}

fn read_yaml(text: &str) -> Result<Value, FieldError> {
    if text.len() > MAX_BYTES {
        return Err(field_error(
            "(document)",
            format!(
                "holds {} bytes, a run has at most {MAX_BYTES}: is this the right file?",
                text.len()
            ),
        ));
    }
    let options = serde_saphyr::options! { with_snippet: false };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|e| {
            let place = e.location().map_or_else(
                || "(document)".to_string(),
                |at| format!("line {}, column {}", at.line(), at.column()),
            );
            let message = e.to_string();
            let lines = message
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty());
            let lines: Vec<&str> = lines.collect();
            field_error(place, format!("is no valid YAML: {}", lines.join(", ")))
        })?;
    let count = documents.len();
    match documents.into_iter().next() {
        Some(Value::Null) | None => Err(field_error(
            "(document)",
            "is empty: write a SynthesisRun, or start from one of the examples",
        )),
        Some(value) if count == 1 => Ok(value),
        Some(_) => Err(field_error(
            "(document)",
            format!("holds {count} documents: a file describes one run, remove all but one"),
        )),
    }
}

#[cfg(test)]
mod admitted;

#[cfg(test)]
mod tests;
