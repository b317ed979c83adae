//! Says in words what a value is, for a person who wrote it.

use serde_json::Value;

/// Longest part of a value that is repeated.
const SHOWN: usize = 60;

/// `the text "abc"`, `the number 3`, `a list of 2`, ...
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(value) => format!("{value}"),
        Value::Number(value) => format!("the number {value}"),
        Value::String(text) => format!("the text \"{}\"", short(text)),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(members) => format!("a mapping of {}", members.len()),
    }
}

/// The beginning of `text`, on one line.
pub(super) fn short(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SHOWN)
        .collect();
    if text.chars().count() > SHOWN {
        format!("{line}…")
    } else {
        line
    }
}
