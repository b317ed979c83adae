//! Yes or No: reads the verdict out of a judge's words. The last stand-alone Yes or No wins, since a judge reasons first; a
//! word inside a sentence ("there is no doubt") is not a verdict.

/// What a judge decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Yes,
    /// No.
    No,
}

/// The last stand-alone Yes or No of `text`; `None` where there is none.
///
/// Stand-alone means: a word of its own before the end of a line, a mark of punctuation or closing mark-up; in lower case
/// also at the start of a line or after a colon or mark-up. `Yes or No` and `Yes/No` repeat the question and count for nothing.
pub fn last_verdict(text: &str) -> Option<Verdict> {
    let words = words(text);
    let mut last = None;
    for (at, &(start, end)) in words.iter().enumerate() {
        let Some(verdict) = verdict_of(&text[start..end]) else {
            continue;
        };
        let beside = |other: Option<&(usize, usize)>| {
            other.is_some_and(|&(s, e)| verdict_of(&text[s..e]).is_some())
        };
        let offers = |s: &str| {
            matches!(
                s.trim(),
                "/" | "|" | "or" | "\" or \"" | "' or '" | "** or **"
            )
        };
        let next = words.get(at + 1..).and_then(|rest| {
            rest.iter()
                .find(|&&(s, e)| !text[s..e].eq_ignore_ascii_case("or"))
        });
        let previous = words[..at]
            .iter()
            .rfind(|&&(s, e)| !text[s..e].eq_ignore_ascii_case("or"));
        let offered = beside(next) && next.is_some_and(|&(s, _)| offers(&text[end..s]))
            || beside(previous) && previous.is_some_and(|&(_, e)| offers(&text[e..start]));
        if !offered && stands_alone(&text[..start], &text[start..end], &text[end..]) {
            last = Some(verdict);
        }
    }
    last
}

fn verdict_of(word: &str) -> Option<Verdict> {
    if word.eq_ignore_ascii_case("yes") {
        Some(Verdict::Yes)
    } else {
        word.eq_ignore_ascii_case("no").then_some(Verdict::No)
    }
}

const MARKUP: [char; 12] = ['*', '_', '"', '\'', '`', '{', '}', '(', ')', '“', '”', '$'];

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
    let before = before.trim_end_matches([' ', '\t']);
    let opens = before
        .chars()
        .next_back()
        .is_none_or(|last| matches!(last, '\n' | ':' | '>' | ']' | '=') || MARKUP.contains(&last));
    ends && (capital || opens)
}

/// Byte ranges of the runs of letters, digits and marks inside words.
fn words(text: &str) -> Vec<(usize, usize)> {
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
    fn the_last_stand_alone_verdict_wins() {
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
            ("The task says to answer Yes or No.", None),
            ("Answer Yes/No: No", Some(No)),
            ("I was asked \"Yes\" or \"No\". Yes.", Some(Yes)),
            ("\\boxed{Yes}", Some(Yes)),
            ("\\boxed{\\text{No}}", Some(No)),
            ("Yesterday nobody knew; there is no doubt", None),
            ("", None),
            ("It is solvable.", None),
            ("Yes\nNo\nYes", Some(Yes)),
        ];
        for (text, expected) in cases {
            assert_eq!(last_verdict(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived_and_a_final_line_decides(text in "\\PC{0,80}") {
            let _ = last_verdict(&text);
            prop_assert_eq!(last_verdict(&format!("{text}\n\nNo")), Some(Verdict::No));
        }
    }
}
