//! Formats numbers, durations and digests for display, and escapes text for Markdown.

/// Formats `1234567` as `1,234,567`.
pub fn thousands(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if number < 0 {
        format!("-{grouped}")
    } else {
        grouped
    }
}

/// Formats `part` of `whole` as a percentage, e.g. `12.5%`; a dash if `whole` is 0.
pub fn share(part: i64, whole: i64) -> String {
    if whole == 0 {
        "–".into()
    } else {
        format!("{:.1}%", 100.0 * part as f64 / whole as f64)
    }
}

/// Formats a real number with about four significant digits.
pub fn real(value: f64) -> String {
    let size = value.abs();
    let text = match size {
        _ if size >= 1000.0 => return thousands(value.round() as i64),
        _ if size >= 100.0 => format!("{value:.1}"),
        _ if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        _ if size >= 0.001 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    };
    if text.contains('.') && !text.contains('e') {
        text.trim_end_matches('0').trim_end_matches('.').into()
    } else {
        text
    }
}

/// Formats milliseconds as `1 h 02 min`, `3 min 20 s`, `4.2 s`.
pub fn duration(millis: i64) -> String {
    let seconds = millis / 1000;
    match seconds {
        ..60 => format!("{:.1} s", millis as f64 / 1000.0),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Returns the first 12 digits of a digest, without its algorithm's name.
pub fn short_digest(digest: &str) -> String {
    digest
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .chars()
        .take(12)
        .collect()
}

/// Replaces line breaks and other control characters by spaces.
pub fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Escapes `text` for a Markdown line or table cell.
pub fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '$' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out
}

/// Formats `text` as inline code in a Markdown table cell.
pub fn markdown_code(text: &str) -> String {
    format!("`{}`", one_line(text).replace('`', "'").replace('|', "\\|"))
}

/// Returns a fence that `text` cannot close: longer than any run of back-ticks in it.
pub fn fence(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

/// Truncates `text` to `most` characters, with a mark if text was left out.
pub fn excerpt(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{} […]", &text[..end]),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [0, 999, 1000, -1234567].map(thousands),
            ["0", "999", "1,000", "-1,234,567"]
        );
        assert_eq!(
            [0.0, 0.5, 12.345, 123.45, 1e6, 0.0123, 1e-5].map(real),
            ["0", "0.5", "12.35", "123.5", "1,000,000", "0.012", "1.0e-5"]
        );
        assert_eq!(
            [4200, 200_000, 3_720_000].map(duration),
            ["4.2 s", "3 min 20 s", "1 h 02 min"]
        );
        assert_eq!((share(1, 8), share(0, 0)), ("12.5%".into(), "–".into()));
    }

    #[test]
    fn markdown_is_escaped() {
        assert_eq!(markdown("a|b\n<script>`x`"), "a\\|b &lt;script>\\`x\\`");
        assert_eq!(fence("```` code"), "`````");
        assert_eq!(excerpt("größer", 3), "grö […]");
    }
}
