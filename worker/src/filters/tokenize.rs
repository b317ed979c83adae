//! Splits a question into tokens for comparison: removes what does not change its meaning (case, sentence punctuation, white
//! space, typographic variants), and keeps what does in mathematics (numbers, operators, brackets). Pure.

use unicode_normalization::UnicodeNormalization;

/// Returns the words and mathematical signs of `text`, in order and in normal form: NFKC, lower case; letters and digits
/// separate (`2x` is `2 x`); without thousands separators, hyphens within words, and LaTeX's grouping and spacing.
pub fn tokens(text: &str) -> Vec<String> {
    let characters: Vec<char> = text
        .nfkc()
        .flat_map(char::to_lowercase)
        .map(canonical)
        .collect();
    let mut tokens: Vec<String> = Vec::new();
    let mut at = 0;
    while at < characters.len() {
        let length = token_length(&characters[at..]);
        let token = &characters[at..at + length];
        if is_significant(&characters, at, length) {
            tokens.push(
                token
                    .iter()
                    .filter(|c| !matches!(c, ',' | '\'') || length == 1)
                    .collect(),
            );
        }
        at += length;
    }
    tokens
}

/// Returns the words and numbers of `text`, in order: [`tokens`] without signs.
pub fn words(text: &str) -> Vec<String> {
    let mut tokens = tokens(text);
    tokens.retain(|token| token.starts_with(char::is_alphanumeric));
    tokens
}

/// Returns the canonical character for typographic variants.
fn canonical(c: char) -> char {
    match c {
        '\u{2212}' | '\u{2010}' | '\u{2011}' => '-',
        '×' | '⋅' | '·' => '*',
        '÷' => '/',
        '’' | '‘' | '′' | '`' => '\'',
        c => c,
    }
}

/// Returns the length of the token at the beginning of `rest`: a word, a number or a single character.
fn token_length(rest: &[char]) -> usize {
    let first = rest[0];
    if is_digit(first) {
        return number_length(rest);
    }
    if !is_letter(first) || is_word_of_its_own(first) {
        return 1;
    }
    let mut length = 1;
    while let Some(&c) = rest.get(length) {
        // An apostrophe within a word joins it: "janet's" is one word, the primes of f'(x) are not.
        let joins =
            c == '\'' && length > 1 && rest.get(length + 1).is_some_and(|next| is_letter(*next));
        if !joins && (!is_letter(c) || is_word_of_its_own(c)) {
            break;
        }
        length += 1;
    }
    length
}

/// Returns the length of a number: digits with decimal points, and with commas before groups of three digits.
fn number_length(rest: &[char]) -> usize {
    let digits = |from: usize| rest[from..].iter().take_while(|c| is_digit(**c)).count();
    let mut length = digits(0);
    while let Some(separator) = rest.get(length) {
        let group = digits(length + 1);
        match separator {
            ',' if group == 3 => length += 4,
            '.' if group > 0 => return length + 1 + group,
            _ => break,
        }
    }
    length
}

/// Whether the token at `at` is significant.
fn is_significant(all: &[char], at: usize, length: usize) -> bool {
    let before = |back: usize| {
        at.checked_sub(back)
            .and_then(|index| all.get(index))
            .copied()
    };
    let after = all.get(at + length).copied();
    let first = all[at];
    if is_letter(first) || is_digit(first) {
        let word: String = all[at..at + length].iter().collect();
        return before(1) != Some('\\')
            || !matches!(word.as_str(), "left" | "right" | "big" | "quad" | "qquad");
    }
    let single_letter_before = before(1).is_some_and(|c| c.is_alphabetic())
        && !before(2).is_some_and(|c| c.is_alphabetic());
    match first {
        // A factorial follows a number, a variable or a bracket; anything else is an exclamation.
        '!' => single_letter_before || before(1).is_some_and(|c| is_digit(c) || c == ')'),
        // A derivative's prime follows a variable.
        '\'' => single_letter_before && !after.is_some_and(|c| c.is_alphanumeric()),
        // A hyphen joins two words of at least two letters; otherwise it is a minus.
        '-' => {
            let letters = |c: Option<char>| c.is_some_and(|c| c.is_alphabetic());
            let within_words = letters(before(1)) && letters(before(2)) && letters(after);
            !(within_words && letters(all.get(at + 2).copied()))
        }
        '.' | ',' | ';' | ':' | '?' | '"' | '$' | '\\' | '{' | '}' | '&' | '~' | '¿' | '¡'
        | '…' | '•' => false,
        '–' | '—' | '“' | '”' | '„' | '«' | '»' | '。' | '、' | '।' => false,
        c => !c.is_whitespace() && !c.is_control(),
    }
}

fn is_digit(c: char) -> bool {
    c.is_numeric()
}

fn is_letter(c: char) -> bool {
    c.is_alphabetic()
}

/// Whether the character's script puts no spaces between words, so that each character counts as a word.
fn is_word_of_its_own(c: char) -> bool {
    matches!(c, '\u{0e00}'..='\u{0eff}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_split_into_tokens() {
        #[rustfmt::skip]
        let cases = [
            // Insignificant differences.
            ("Janet’s Ducks lay 16 eggs.", "janets ducks lay 16 eggs"),
            ("  What   is\n\nx ?! ", "what is x"),
            ("a two-digit number", "a two digit number"),
            ("It costs $1,000,000.50 now", "it costs 1000000.50 now"),
            ("in 1999, 25 men", "in 1999 25 men"),
            (r"Find $\left( x \right)$ in $\mathbb{R}$", "find ( x ) in mathbb r"),
            ("“Stop!” he said", "stop he said"),
            // Significant differences.
            ("x+1=3", "x + 1 = 3"),
            ("x − 1 = 3", "x - 1 = 3"),
            ("x-y", "x - y"),
            ("2x × 3", "2 x * 3"),
            ("5! and n! and (n+1)!", "5 ! and n ! and ( n + 1 ) !"),
            ("f'(x) = 2x", "f ' ( x ) = 2 x"),
            ("[0, 1)", "[ 0 1 )"),
            (r"\frac{1}{23}", "frac 1 23"),
            ("x² + 90° and 50%", "x 2 + 90 ° and 50 %"),
            ("3.5 or 35", "3.5 or 35"),
            ("𝑥 ∈ ℝ", "x ∈ r"),
            ("求x的值", "求 x 的 值"),
            ("", ""),
            (" \t\n", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(tokens(text).join(" "), expected, "{text:?}");
        }
    }

    #[test]
    fn words_exclude_signs() {
        assert_eq!(
            words("Solve x + 1 = 3, please!").join(" "),
            "solve x 1 3 please"
        );
    }

    proptest::proptest! {
        #[test]
        fn case_and_white_space_are_ignored(text in "[a-zA-Z0-9 +*=,.?$\\\\{}-]{0,60}") {
            let spaced = text.to_uppercase().replace(' ', " \n\t ");
            proptest::prop_assert_eq!(tokens(&text), tokens(&spaced));
        }

        #[test]
        fn any_text_is_split(text in ".{0,200}") {
            let joined = tokens(&text).join(" ");
            proptest::prop_assert!(tokens(&text).iter().all(|token| !token.is_empty()), "{}", joined);
        }
    }
}
