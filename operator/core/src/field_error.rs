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
    let line = one_line(message);
    let words = line.split(' ').map(|word| shortened(word, LONGEST_WORD));
    words.collect::<Vec<_>>().join(" ")
}

/// `text` on one line.
pub(crate) fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// The first `longest` characters of `text`, with an ellipsis if there are more.
pub(crate) fn shortened(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}
