//! Finds final answers that are stated rather than boxed: `#### 18`, `The answer is 18.`, `A: 18`. It reads line by line from
//! the end and does not interpret them.

/// Maximum length in characters of an answer in running text.
const MAX_LENGTH: usize = 120;

/// Returns the answer of the last line that states one; `None` if no line does.
pub fn last_stated(text: &str) -> Option<&str> {
    text.lines().rev().find_map(stated)
}

fn stated(line: &str) -> Option<&str> {
    let lower = line.to_ascii_lowercase();
    let after = [
        "####",
        "answer is",
        "answer:",
        "answer :",
        "answer**:",
        "answers are",
    ]
    .iter()
    .filter_map(|mark| lower.rfind(mark).map(|at| at + mark.len()))
    .max()
    .or_else(|| {
        lower
            .trim_start()
            .starts_with("a:")
            .then(|| lower.find("a:").map_or(0, |at| at + 2))
    })?;
    let rest = line[after..].trim_start_matches([':', ' ', '\t']);
    let sentence = rest.find(". ").map_or(rest, |end| &rest[..end]);
    let bare = sentence
        .trim()
        .trim_matches(['*', '_', '`'])
        .trim()
        .trim_end_matches('.');
    (!bare.is_empty() && bare.chars().count() <= MAX_LENGTH).then_some(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_statement_is_found() {
        let cases = [
            ("2 + 2 = 4\n#### 4", Some("4")),
            (
                "first, the answer is 3.\nNo: the answer is 4. Done.",
                Some("4"),
            ),
            ("Final Answer: **12 cm**", Some("12 cm")),
            ("**Answer:** 7", Some("7")),
            ("so 9 * 2 = 18\nA: 18", Some("18")),
            ("The answer is:", None),
            ("we do not know", None),
        ];
        for (text, expected) in cases {
            assert_eq!(last_stated(text), expected, "{text}");
        }
    }
}
