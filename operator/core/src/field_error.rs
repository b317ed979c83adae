//! Builds the errors that checks of a spec return, each at the path of its field.

use scalequest_crds::protocol::preflight::FieldError;

/// An error at `field`. Values that a message repeats are the user's: it stays one line, and a word that nobody would read is cut.
pub fn field_error(field: impl Into<String>, message: impl Into<String>) -> FieldError {
    FieldError {
        field: field.into(),
        message: readable(&message.into()),
    }
}

/// Longest word of a message, in characters: longer than any sensible path.
const LONGEST_WORD: usize = 200;

fn readable(message: &str) -> String {
    let line: String = message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let cut = |word: &str| match word.char_indices().nth(LONGEST_WORD) {
        Some((end, _)) => format!("{}…", &word[..end]),
        None => word.to_string(),
    };
    line.split(' ').map(cut).collect::<Vec<_>>().join(" ")
}
