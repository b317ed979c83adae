//! Normalizes LaTeX and Unicode: removes spacing, sizing and delimiters, and unifies alternative spellings.

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

/// Normalizes the LaTeX and Unicode spellings of an answer.
pub(super) fn normalize_latex(answer: &str) -> String {
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

/// Returns the command name at the start of `text` (after the backslash): letters, or one other character.
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

/// Adds the braces that `\frac12` and `\sqrt2` omit, and removes those of `x^{2}`.
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
