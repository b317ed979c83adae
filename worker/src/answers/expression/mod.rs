//! The normal form of a mathematical answer: removes LaTeX spacing, delimiters and units, unifies equivalent spellings and
//! numbers; the rest is compared as text. It is not symbolic: `x+1` and `1+x` stay different.

mod brackets;

mod latex;

use super::number::Number;
use brackets::{split_list, split_top_level, strip_brackets};
use latex::normalize_latex;

/// Maximum length in characters of an answer that is parsed; a longer one is compared as normalized LaTeX.
const MAX_LENGTH: usize = 400;

/// Maximum depth of nested brackets that are parsed.
const MAX_DEPTH: usize = 4;

/// Returns the normal form of `answer`, which may be empty.
///
/// `1,000`, `1000.0` and `\$1000` are `1000`; `0.5`, `1/2` and `\frac{1}{2}` are `0.5`; `50\%` is `50` (the unit is dropped, as
/// any other); `x = 5` is `5`; `5\text{ cm}` is `5`; `(1/2, 1]` is `(0.5,1]`; words are lower case.
pub fn normal_expression(answer: &str) -> String {
    let cleaned = normalize_latex(answer);
    if cleaned.chars().count() > MAX_LENGTH {
        cleaned
    } else {
        parts(without_name(&cleaned), 0)
    }
}

fn parts(text: &str, depth: usize) -> String {
    if let Some(number) = quantity(text) {
        return number.to_string();
    }
    if depth < MAX_DEPTH {
        if let Some((open, inside, close)) = strip_brackets(text) {
            let items: Vec<_> = split_top_level(inside, ",")
                .iter()
                .map(|item| parts(item.trim(), depth + 1))
                .collect();
            return format!("{open}{}{close}", items.join(","));
        }
        let items: Vec<_> = split_list(text)
            .iter()
            .map(|item| parts(without_name(item.trim()), depth + 1))
            .collect();
        if items.len() > 1 && items.iter().all(|item| !item.is_empty()) {
            return items.join(",");
        }
    }
    let words = text
        .chars()
        .all(|character| character.is_alphabetic() || character == ' ' || character == '\'');
    if words {
        text.to_lowercase()
    } else {
        text.to_owned()
    }
}

/// Parses a number, alone or with a unit of measure.
fn quantity(text: &str) -> Option<Number> {
    if let Some(number) = Number::parse(text) {
        return Some(number);
    }
    let unit = text.find(|character: char| character.is_alphabetic() && character != '\\')?;
    let (number, unit) = text.split_at(unit);
    let mut words = unit.split([' ', '/', '*']).filter(|word| !word.is_empty());
    let factor = match words.clone().next()?.to_lowercase().as_str() {
        "hundred" => 100,
        "thousand" => 1_000,
        "million" => 1_000_000,
        "billion" => 1_000_000_000,
        _ => 1,
    };
    // One letter is a variable, not a unit; a word of mathematics changes the value.
    let is_unit = |word: &str| {
        let letters =
            word.trim_end_matches(|character: char| character == '^' || character.is_ascii_digit());
        letters.chars().count() > 1
            && letters.chars().all(char::is_alphabetic)
            && !MATHEMATICAL.contains(&letters)
    };
    words
        .all(is_unit)
        .then(|| Number::parse(number)?.checked_mul(factor))
        .flatten()
}

/// Words after a number that are not units.
const MATHEMATICAL: [&str; 16] = [
    "pi", "sqrt", "sin", "cos", "tan", "log", "ln", "exp", "and", "or", "to", "mod", "choose",
    "if", "for", "dozen",
];

/// Removes `x =`, if the left side is one letter or one command.
fn without_name(text: &str) -> &str {
    match text.split_once('=') {
        Some((name, value)) if !value.contains('=') && is_name(name.trim()) => value.trim(),
        _ => text,
    }
}

fn is_name(text: &str) -> bool {
    let name = text.split('_').next().unwrap_or_default();
    let letters = name.strip_prefix('\\').unwrap_or(name);
    !letters.is_empty()
        && letters.chars().all(char::is_alphabetic)
        && (name.starts_with('\\') || letters.chars().count() == 1)
}

#[cfg(test)]
mod tests;
