//! Parses the verdict, Yes or No, of a judge's response. The last stand-alone Yes or No wins, since a judge reasons first; a
//! word inside a sentence ("there is no doubt") is not a verdict.

/// What a judge decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Yes,
    /// No.
    No,
}

/// Returns the last stand-alone Yes or No of `text`; `None` if there is none.
///
/// Stand-alone means: a word of its own before the end of a line, punctuation or closing mark-up (a sentence may continue after
/// a capitalised Yes, and after a No before `because` and the like); in lower case also at the start of a line or after a colon
/// or mark-up. `Yes or No` and `Yes/No` repeat the question and are ignored.
pub fn parse_verdict(text: &str) -> Option<Verdict> {
    let found: Vec<_> = word_ranges(text)
        .into_iter()
        .filter_map(|(start, end)| Some((start, end, verdict_of(&text[start..end])?)))
        .collect();
    let is_offered = |at: usize| {
        let pair = |one: usize, other: usize| match (found.get(one), found.get(other)) {
            (Some((_, end, _)), Some((start, _, _))) => is_choice(&text[*end..*start]),
            _ => false,
        };
        pair(at, at + 1) || at > 0 && pair(at - 1, at)
    };
    let is_verdict = |at: &usize| {
        let (start, end, _) = found[*at];
        !is_offered(*at) && stands_alone(&text[..start], &text[start..end], &text[end..])
    };
    (0..found.len())
        .rev()
        .find(is_verdict)
        .map(|at| found[at].2)
}

/// Whether the text between a Yes and a No offers them as a choice, which is the question and not its answer.
fn is_choice(between: &str) -> bool {
    let words: Vec<_> = word_ranges(between)
        .into_iter()
        .map(|(start, end)| between[start..end].to_ascii_lowercase())
        .collect();
    let only = words
        .iter()
        .all(|word| matches!(word.as_str(), "or" | "verdict" | "answer"));
    let mark = between.trim_matches(MARKUP).trim();
    only && (words.iter().any(|word| word == "or") || matches!(mark, "/" | "|"))
}

fn verdict_of(word: &str) -> Option<Verdict> {
    if word.eq_ignore_ascii_case("yes") {
        Some(Verdict::Yes)
    } else {
        word.eq_ignore_ascii_case("no").then_some(Verdict::No)
    }
}

const MARKUP: [char; 12] = ['*', '_', '"', '\'', '`', '{', '}', '(', ')', '“', '”', '$'];

/// Words after a No that leave it a verdict.
const REASON_WORDS: [&str; 6] = ["because", "since", "as", "if", "it", "this"];

fn starts_with_word(text: &str, word: &str) -> bool {
    let rest = text.trim_start_matches([' ', '\t']).strip_prefix(word);
    rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

fn stands_alone(before: &str, word: &str, after: &str) -> bool {
    let after = after
        .trim_start_matches(MARKUP)
        .trim_start_matches([' ', '\t']);
    let ends = after.chars().next().is_none_or(|next| {
        matches!(
            next,
            '\n' | '\r' | '.' | ',' | '!' | '?' | ';' | ':' | '<' | '[' | '—' | '–' | '-' | '\\'
        )
    });
    let capital = word.starts_with(char::is_uppercase);
    // "Yes it is" is a verdict, "No information is missing" is none, "No because ..." is one again.
    let continues = capital
        && (word.eq_ignore_ascii_case("yes")
            || REASON_WORDS
                .iter()
                .any(|reason| starts_with_word(after, reason)));
    let before = before.trim_end_matches([' ', '\t']);
    let opens = before
        .chars()
        .next_back()
        .is_none_or(|last| matches!(last, '\n' | ':' | '>' | ']' | '=') || MARKUP.contains(&last));
    continues || ends && (capital || opens)
}

/// Returns the byte ranges of runs of letters and digits.
fn word_ranges(text: &str) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (at, character) in text.char_indices() {
        if character.is_alphanumeric() {
            let end = at + character.len_utf8();
            match found.last_mut() {
                Some(word) if word.1 == at => word.1 = end,
                _ => found.push((at, end)),
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn last_verdict_wins() {
        use Verdict::{No, Yes};
        let cases = [
            ("Yes", Some(Yes)),
            ("no", Some(No)),
            ("Everything is given.\nYes.", Some(Yes)),
            (
                "At first: No. But then the radius follows.\n\n**Yes**",
                Some(Yes),
            ),
            ("Yes, because there is no missing number.", Some(Yes)),
            ("No information is missing, so the verdict: yes", Some(Yes)),
            ("There is no such triangle, so the answer is No.", Some(No)),
            ("Verdict: NO!", Some(No)),
            ("Yes if it can be solved.", Some(Yes)),
            ("No because the radius is not given.", Some(No)),
            ("No contradiction is found", None),
            ("The task says to answer Yes or No.", None),
            ("Answer Yes/No: No", Some(No)),
            ("I was asked \"Yes\" or \"No\". Yes.", Some(Yes)),
            ("I am to write \"Verdict: Yes\" or \"Verdict: No\".", None),
            ("\\boxed{Yes}", Some(Yes)),
            ("\\boxed{\\text{No}}", Some(No)),
            ("Yesterday nobody knew; there is no doubt", None),
            ("", None),
            ("It is solvable.", None),
            ("Yes\nNo\nYes", Some(Yes)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_verdict(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn final_line_decides(text in "\\PC{0,80}") {
            let _ = parse_verdict(&text);
            prop_assert_eq!(parse_verdict(&format!("{text}\n\nNo")), Some(Verdict::No));
        }
    }
}
