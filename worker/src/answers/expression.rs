//! The normal form of a mathematical answer: LaTeX spacing, delimiters, units and equivalent spellings are taken away,
//! numbers are written in one way, and what remains is compared as text. It proves nothing: `x+1` and `1+x` stay different.

use super::number::Number;

/// Longest answer in characters that is taken apart; a longer one is compared as cleaned text.
const LONGEST: usize = 400;

/// Brackets within brackets that are taken apart.
const DEEPEST: usize = 4;

/// The normal form of `answer`; empty where nothing is left.
///
/// `1,000`, `1000.0` and `\$1000` are `1000`; `0.5`, `1/2` and `\frac{1}{2}` are `0.5`; `50\%` is `50` (the unit is dropped, as
/// any other); `x = 5` is `5`; `5\text{ cm}` is `5`; `(1/2, 1]` is `(0.5,1]`; words are lower case.
pub fn normal_expression(answer: &str) -> String {
    let cleaned = clean(answer);
    if cleaned.chars().count() > LONGEST {
        cleaned
    } else {
        parts(without_name(&cleaned), 0)
    }
}

fn parts(text: &str, depth: usize) -> String {
    if let Some(number) = quantity(text) {
        return number.to_string();
    }
    if depth < DEEPEST {
        if let Some((open, inside, close)) = bracketed(text) {
            let items: Vec<_> = top_level(inside, ",")
                .iter()
                .map(|item| parts(item.trim(), depth + 1))
                .collect();
            return format!("{open}{}{close}", items.join(","));
        }
        let items: Vec<_> = listed(text)
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

/// A number, alone or with a unit of measure after it.
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
        .then(|| Number::parse(number)?.times(factor))
        .flatten()
}

/// Words after a number that are no unit.
const MATHEMATICAL: [&str; 16] = [
    "pi", "sqrt", "sin", "cos", "tan", "log", "ln", "exp", "and", "or", "to", "mod", "choose",
    "if", "for", "dozen",
];

/// The two brackets around the whole of `text` and what is between.
fn bracketed(text: &str) -> Option<(&str, &str, &str)> {
    for open in ["(", "[", "\\{"] {
        for close in [")", "]", "\\}"] {
            if let Some(inside) = text
                .strip_prefix(open)
                .and_then(|rest| rest.strip_suffix(close))
            {
                return closes_only_at_end(inside).then_some((open, inside, close));
            }
        }
    }
    None
}

fn closes_only_at_end(inside: &str) -> bool {
    let mut depth = 0_i64;
    inside.chars().all(|character| {
        depth += match character {
            '(' | '[' | '{' => 1,
            ')' | ']' | '}' => -1,
            _ => 0,
        };
        depth >= 0
    })
}

/// The items of `2, 3 and 4`.
fn listed(text: &str) -> Vec<&str> {
    top_level(text, ",")
        .into_iter()
        .flat_map(|item| top_level(item, " and "))
        .map(|item| item.trim_start_matches("and "))
        .collect()
}

/// `text` cut at every `separator` outside brackets.
fn top_level<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut items, mut depth, mut start) = (Vec::new(), 0_i64, 0);
    for (at, character) in text.char_indices() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ if depth == 0 && at >= start && text[at..].starts_with(separator) => {
                items.push(&text[start..at]);
                start = at + separator.len();
            }
            _ => {}
        }
    }
    items.push(&text[start..]);
    items
}

/// What is right of `x =`, where the left side is one letter or one command.
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

/// Commands that only space or size, and delimiters.
const DROPPED: [&str; 22] = [
    "left",
    "right",
    "displaystyle",
    "limits",
    "big",
    "Big",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    ",",
    ";",
    ":",
    "!",
    "(",
    ")",
    "[",
    "]",
    "$",
    "%",
    "circ",
    "degree",
];

/// Commands whose argument is plain text.
const TEXTUAL: [&str; 11] = [
    "text",
    "textbf",
    "textit",
    "textrm",
    "mathrm",
    "mathbf",
    "mbox",
    "operatorname",
    "boldsymbol",
    "emph",
    "mathit",
];

/// LaTeX and Unicode spellings brought to one.
fn clean(answer: &str) -> String {
    let mut out = String::with_capacity(answer.len());
    let mut textual = Vec::new();
    let mut depth = 0_usize;
    let mut rest = answer.trim();
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        match character {
            '\\' => {
                let name = command(rest);
                rest = &rest[name.len()..];
                if TEXTUAL.contains(&name) && rest.trim_start().starts_with('{') {
                    rest = &rest.trim_start()[1..];
                    textual.push(depth);
                    depth += 1;
                    out.push(' ');
                } else {
                    clean_command(name, &mut out);
                }
            }
            '{' => {
                depth += 1;
                out.push('{');
            }
            '}' => {
                depth = depth.saturating_sub(1);
                let ends_text = textual.pop_if(|opened| *opened == depth).is_some();
                out.push(if ends_text { ' ' } else { '}' });
            }
            '$' | '%' | '°' | '€' | '£' => {}
            '~' | '\u{a0}' => out.push(' '),
            '−' | '–' | '—' => out.push('-'),
            '×' | '·' | '⋅' => out.push('*'),
            'π' => out.push_str("\\pi"),
            '∞' => out.push_str("\\infty"),
            '≤' => out.push_str("\\le"),
            '≥' => out.push_str("\\ge"),
            '½' => out.push_str(" 1/2"),
            '¼' => out.push_str(" 1/4"),
            '¾' => out.push_str(" 3/4"),
            '²' => out.push_str("^2"),
            '³' => out.push_str("^3"),
            other if other.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    let out = out.replace("{,}", ",").replace("^{}", "");
    let out = tight(&braced_arguments(&out));
    let spare = [' ', ';', ':', '!', '*', ',', '='];
    let out = out
        .trim_start_matches(spare)
        .trim_end_matches(spare)
        .trim_end_matches(['.', ',', ' ']);
    out.replace("^{}", "").trim_end_matches('^').to_owned()
}

/// The command name at the start of `text` (behind the backslash): letters, or one other character.
fn command(text: &str) -> &str {
    let letters = text.len()
        - text
            .trim_start_matches(|character: char| character.is_ascii_alphabetic())
            .len();
    match letters {
        0 => &text[..text.chars().next().map_or(0, char::len_utf8)],
        _ => &text[..letters],
    }
}

fn clean_command(name: &str, out: &mut String) {
    match name {
        "quad" | "qquad" | " " | "\\" => out.push(' '),
        "dfrac" | "tfrac" | "cfrac" => out.push_str("\\frac"),
        "cdot" | "times" => out.push('*'),
        "leq" => out.push_str("\\le"),
        "geq" => out.push_str("\\ge"),
        "neq" => out.push_str("\\ne"),
        "lbrace" => out.push_str("\\{"),
        "rbrace" => out.push_str("\\}"),
        "_" | "#" | "&" => out.push_str(name),
        name if DROPPED.contains(&name) => {}
        name => {
            out.push('\\');
            out.push_str(name);
        }
    }
}

/// Braces around single arguments: put where `\frac12` and `\sqrt2` leave them out, taken away from `x^{2}`.
fn braced_arguments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let arguments = [("\\frac", 2), ("\\sqrt", 1)]
            .into_iter()
            .find(|(name, _)| rest.starts_with(name));
        if let Some((name, count)) = arguments {
            out.push_str(name);
            rest = &rest[name.len()..];
            for _ in 0..count {
                let trimmed = rest.trim_start();
                match trimmed.chars().next() {
                    Some(digit) if digit.is_ascii_alphanumeric() => {
                        out.extend(['{', digit, '}']);
                        rest = &trimmed[1..];
                    }
                    // A group of digits and letters only is copied whole, so that the next argument is seen.
                    Some('{') => {
                        let end = trimmed.find('}').map_or(trimmed.len(), |end| end + 1);
                        let group = &trimmed[..end];
                        if group[1..].contains(['{', '\\']) {
                            break;
                        }
                        out.push_str(group);
                        rest = &trimmed[end..];
                    }
                    _ => break,
                }
            }
            continue;
        }
        rest = &rest[character.len_utf8()..];
        out.push(character);
        if matches!(character, '^' | '_') {
            let mut inside = rest.chars();
            if let (Some('{'), Some(only), Some('}')) =
                (inside.next(), inside.next(), inside.next())
            {
                out.push(only);
                rest = inside.as_str();
            }
        }
    }
    out
}

/// White space only between two words or numbers, and one space of it.
fn tight(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        let joins = |character: Option<char>| character.is_some_and(char::is_alphanumeric);
        if joins(out.chars().last()) && joins(word.chars().next()) {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_answer_have_one_normal_form() {
        let cases: [(&str, &[&str]); 14] = [
            (
                "1000",
                &[
                    "1,000",
                    "1000",
                    "1000.0",
                    r"\$1,000",
                    "$1000$",
                    r"1{,}000",
                    "1000.",
                    r"\text{1000}",
                    r"1\,000",
                    "x = 1000",
                ],
            ),
            (
                "0.5",
                &[
                    "1/2",
                    "0.5",
                    ".50",
                    r"\frac{1}{2}",
                    r"\dfrac12",
                    r"\frac12",
                    r"\frac 1 2",
                    "½",
                    r"\tfrac{1}{2}",
                ],
            ),
            (
                "50",
                &[
                    r"50\%",
                    "50%",
                    "50 percent",
                    r"50\text{ percent}",
                    r"50^\circ",
                    "50°",
                    r"50^{\circ}",
                    "50 degrees",
                ],
            ),
            (
                "5",
                &[
                    "5 cm",
                    r"5\text{ cm}",
                    r"5\,\mathrm{cm}^2",
                    "5 square feet",
                    "5 km/hour",
                    r"5 \text{ dollars}",
                    "y=5",
                    r"\boldsymbol{5}",
                ],
            ),
            (
                "2500000",
                &[
                    "2.5 million",
                    "2,500,000",
                    r"2.5\times10^6",
                    "2.5 * 10^{6} people",
                ],
            ),
            (
                "(0.5,1]",
                &[r"(\frac{1}{2}, 1]", r"\left(0.5,1\right]", "( 1/2 , 1.0 ]"],
            ),
            (
                "2,3",
                &["2, 3", "2 and 3", r"2 \text{ and } 3", "x = 2, y = 3"],
            ),
            (
                r"\{1,2\}",
                &[
                    r"\{1, 2\}",
                    r"\left\{1,\ 2.0\right\}",
                    r"\lbrace 1,2 \rbrace",
                ],
            ),
            (
                "no solution",
                &["No solution", r"\text{no solution}.", "no  solution"],
            ),
            (
                r"\frac{\sqrt{2}}{2}",
                &[r"\dfrac{\sqrt2}{2}", r"\frac{\sqrt{2}}{2}"],
            ),
            ("x^2+1", &["x^{2} + 1", "x^2+1", r"x^2\,+\,1"]),
            ("5x", &["5x", "5 x"]),
            (r"2\pi", &["2π", r"2\pi", r"2 \pi"]),
            ("-3", &["-3", "−3", r"- 3"]),
        ];
        for (expected, spellings) in cases {
            for spelling in spellings {
                assert_eq!(
                    normal_expression(spelling).replace("5 x", "5x"),
                    expected,
                    "{spelling}"
                );
            }
        }
    }

    #[test]
    fn different_answers_stay_different() {
        let pairs = [
            ("5", "5x"),
            ("5 pi", "5"),
            ("(1, 2)", "[1, 2]"),
            ("2, 3", "23"),
            ("1/3", "0.33"),
            ("3 and 4", "3"),
            ("x > 5", "5"),
            ("2 million", "2"),
            (r"\sqrt{2}", "2"),
        ];
        for (left, right) in pairs {
            assert_ne!(
                normal_expression(left),
                normal_expression(right),
                "{left} and {right}"
            );
        }
    }
}
