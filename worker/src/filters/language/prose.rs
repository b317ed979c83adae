//! Finds the words of a question that are prose rather than mathematics or code: LaTeX commands, variables, labels of points,
//! function names and identifiers say nothing about the language of the surrounding text. Pure.

use unicode_normalization::UnicodeNormalization;

use super::script::Script;

/// Names of functions and operators that formulas contain without a backslash.
const OPERATORS: [&str; 20] = [
    "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "lim", "max", "min", "mod",
    "gcd", "lcm", "det", "deg", "sqrt", "frac", "pi",
];

/// Capital letters in a row up to which a word is a label, as of the triangle ABC.
const LABEL: usize = 4;

/// Returns the words of `text` in order, in NFKC; a word has at least two letters, or one of a script without an alphabet. An
/// empty word marks the end of a sentence.
pub(super) fn prose_words(text: &str) -> Vec<String> {
    let text: String = text.nfkc().collect();
    let mut words = Vec::new();
    for line in without_code(&text).lines() {
        split(line, &mut words);
        words.push(String::new());
    }
    words
}

/// Removes fenced code blocks and `inline code`.
fn without_code(text: &str) -> String {
    let outside = |text: &str, fence: &str| -> String {
        let parts: Vec<_> = text.split(fence).collect();
        // An unclosed fence encloses nothing.
        match parts.len() % 2 {
            1 => parts
                .iter()
                .step_by(2)
                .copied()
                .collect::<Vec<_>>()
                .join(" "),
            _ => text.to_string(),
        }
    };
    outside(&outside(text, "```"), "`")
}

fn split(line: &str, words: &mut Vec<String>) {
    let characters: Vec<char> = line.chars().collect();
    let mut at = 0;
    while at < characters.len() {
        let first = characters[at];
        if !is_letter(first) {
            if matches!(first, '.' | '?' | '!' | '。' | '？' | '！' | '।') {
                words.push(String::new());
            }
            at += 1;
            continue;
        }
        let mut end = at;
        while end < characters.len()
            && (is_letter(characters[end]) || is_apostrophe(&characters, end))
        {
            end += 1;
        }
        let word: String = characters[at..end].iter().collect();
        let before = at.checked_sub(1).map(|index| characters[index]);
        if is_prose(&word, before, characters.get(end).copied()) {
            words.push(word);
        }
        at = end;
    }
}

fn is_letter(c: char) -> bool {
    // Marks belong to the words of scripts that write vowels with them.
    c.is_alphabetic() || ('\u{900}'..='\u{e7f}').contains(&c) && !c.is_numeric()
}

fn is_apostrophe(all: &[char], at: usize) -> bool {
    matches!(all[at], '\'' | '’') && all.get(at + 1).is_some_and(|next| is_letter(*next))
}

/// Whether a run of letters is a word of a language, by itself and by the characters around it.
fn is_prose(word: &str, before: Option<char>, after: Option<char>) -> bool {
    let letters = word.chars().count();
    if !word.is_ascii() {
        let greek = word
            .chars()
            .filter(|c| Script::of(*c) == Script::Greek)
            .count();
        let is_formula = greek > 0 && (letters <= 2 || greek < letters);
        // A single letter is a variable, a single Han character is a word.
        return !is_formula && (letters > 1 || word.chars().all(|c| Script::of(c) == Script::Han));
    }
    let is_command =
        matches!(before, Some('\\' | '_' | '^' | '=')) || matches!(after, Some('_' | '^' | '='));
    let is_argument = before == Some('{') && after == Some('}');
    let is_label = letters <= LABEL && word.chars().all(char::is_uppercase);
    let is_operator = OPERATORS.contains(&word.to_ascii_lowercase().as_str());
    let is_unit = letters <= 2 && before.is_some_and(char::is_numeric);
    letters > 1 && !(is_command || is_argument || is_label || is_operator || is_unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_between_formulas_are_found() {
        #[rustfmt::skip]
        let cases = [
            (r"Find $\frac{\sin x}{x_1}$ if $\alpha = 90^\circ$", "Find if"),
            ("In triangle ABC, angle BAC is 90° and AB = 5cm", "In triangle angle is and"),
            (r"Compute $\begin{vmatrix} ab & cd \end{vmatrix}$", "Compute ab cd"),
            ("Evaluate sin x + log y mod z", "Evaluate"),
            ("Write a function `add_one(x)` that adds", "Write function that adds"),
            ("Fix this:\n```python\nfor item in things: print(item)\n```\nPlease", "Fix this Please"),
            ("An `unclosed tick", "An unclosed tick"),
            ("Janet’s ducks don't", "Janet’s ducks don't"),
            ("求 x 的值", "求 的值"),
            ("𝑥 ∈ ℝ, 2 + 2 = 4", ""),
            ("π and α with αx² + βγ", "and with"),
            ("το μήκος της πλευράς", "μήκος της πλευράς"),
            ("", ""),
        ];
        for (text, expected) in cases {
            let words: Vec<_> = prose_words(text)
                .into_iter()
                .filter(|word| !word.is_empty())
                .collect();
            assert_eq!(words.join(" "), expected, "{text:?}");
        }
    }

    #[test]
    fn sentence_ends_are_marked() {
        let sentences = prose_words("One two. Three 3.5 four? Five");
        let count = sentences
            .split(|word| word.is_empty())
            .filter(|sentence| !sentence.is_empty())
            .count();
        assert_eq!(
            count, 4,
            "a decimal point ends a sentence too, which only makes sentences shorter: {sentences:?}"
        );
    }
}
