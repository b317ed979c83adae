//! The prompt for rewriting a question for QPO, in one random direction (paper, section 3.2: both at once failed), and the parser
//! of the rewrite.

use scalequest_crds::protocol::rows::Direction;
use scalequest_crds::v1alpha1::Domain;

/// Maximum length of a rewrite in characters: longer ones contain more than a question.
const MAX_LENGTH: usize = 4000;

/// Returns the rewriter's prompt for `question` in one direction.
pub fn rewrite_prompt(question: &str, direction: Direction, domain: Domain) -> String {
    let (kind, whole) = match domain {
        Domain::Mathematics => ("mathematics problem", "has one definite answer"),
        Domain::Programming => ("programming task", "says exactly what the program must do"),
    };
    let task = match direction {
        Direction::Solvability => format!(
            "Rewrite this {kind} so that it can be solved. Add what is missing, remove contradictions, say unclear things clearly, and make sure that it {whole}. \
             Keep its topic and change no more than needed."
        ),
        Direction::Difficulty => format!(
            "Rewrite this {kind} so that it is harder. Add a condition or a step, so that solving it takes more reasoning, and make sure that it can still be solved and {whole}. \
             Keep its topic."
        ),
    };
    format!(
        "{task}\n\nProblem:\n{question}\n\nWrite only the rewritten problem, without a solution, a hint or a comment."
    )
}

/// Parses the rewritten question; the error is a sentence for the reject's detail.
pub fn parse_rewrite(text: &str, original: &str) -> Result<String, &'static str> {
    let text = text
        .rfind("</think>")
        .map_or(text, |end| &text[end + "</think>".len()..]);
    let question = strip_wrapping(text);
    if question.is_empty() {
        return Err("the rewrite is empty");
    }
    if question.chars().count() > MAX_LENGTH {
        return Err("the rewrite is too long for a question");
    }
    if alphanumeric(question) == alphanumeric(original) {
        return Err("the rewrite is unchanged");
    }
    if has_solution(question) {
        return Err("the rewrite contains a solution");
    }
    if ["i cannot", "i can't", "i'm sorry", "i am sorry", "as an ai"]
        .iter()
        .any(|start| question.to_lowercase().starts_with(start))
    {
        return Err("the rewriter declined");
    }
    Ok(question.to_owned())
}

/// Labels that rewriters write before the question.
const LABELS: [&str; 14] = [
    "rewritten problem",
    "rewritten question",
    "rewritten task",
    "rewritten mathematics problem",
    "rewritten programming task",
    "rewritten version",
    "new problem",
    "new question",
    "new task",
    "harder problem",
    "problem",
    "question",
    "task",
    "here is the rewritten problem",
];

/// Removes labels, quotes and fences around the question.
fn strip_wrapping(text: &str) -> &str {
    let mut text = text.trim();
    loop {
        let before = text;
        text = text.trim().trim_start_matches('#').trim_start();
        text = strip_label(text).trim();
        for (open, close) in [("\"", "\""), ("“", "”"), ("**", "**"), ("'", "'")] {
            if let Some(inside) = text
                .strip_prefix(open)
                .and_then(|rest| rest.strip_suffix(close))
                && !inside.contains(open)
            {
                text = inside.trim();
            }
        }
        if let Some(inside) = text
            .strip_prefix("```")
            .and_then(|rest| rest.strip_suffix("```"))
            && !inside.contains("```")
        {
            text = inside.split_once('\n').map_or("", |(_, body)| body).trim();
        }
        if text == before {
            return text;
        }
    }
}

fn strip_label(text: &str) -> &str {
    let (head, line_ends) = match text.find([':', '\n']) {
        Some(at) => (&text[..at], text[at..].starts_with('\n')),
        None => return text,
    };
    let bare = head
        .trim_matches(|c: char| c.is_whitespace() || matches!(c, '*' | '_' | '#'))
        .to_lowercase();
    let announced = bare.starts_with("here is")
        || bare.starts_with("here's")
        || bare.starts_with("sure")
        || bare.starts_with("certainly");
    if LABELS.contains(&bare.as_str()) || (announced && !line_ends && head.chars().count() < 100) {
        text[head.len() + 1..].trim_start_matches(['*', '_', ' '])
    } else {
        text
    }
}

fn has_solution(question: &str) -> bool {
    let marked = question.contains("\\boxed") || question.contains("####");
    marked
        || question.lines().any(|line| {
            let line = line.trim_start_matches(['*', '#', '_', ' ']).to_lowercase();
            [
                "solution",
                "answer:",
                "answer**",
                "final answer",
                "step 1",
                "to solve this",
                "let's solve",
                "explanation:",
                "the answer is",
            ]
            .iter()
            .any(|start| line.starts_with(start))
        })
}

/// Returns the letters and digits in lower case, by which a question and its rewrite must differ.
fn alphanumeric(text: &str) -> String {
    text.chars()
        .filter(|character| character.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wrapping_is_removed() {
        let cases = [
            ("What is 2 + 3?", "What is 2 + 3?"),
            ("\"What is 2 + 3?\"", "What is 2 + 3?"),
            ("Rewritten Problem: What is 2 + 3?", "What is 2 + 3?"),
            ("**Rewritten Problem:**\n\nWhat is 2 + 3?", "What is 2 + 3?"),
            (
                "### Rewritten question:\n\"What is 2 + 3?\"",
                "What is 2 + 3?",
            ),
            (
                "Sure, here is the rewritten problem:\nWhat is 2 + 3?",
                "What is 2 + 3?",
            ),
            ("<think>hm</think>\nWhat is 2 + 3?", "What is 2 + 3?"),
            ("```\nWhat is 2 + 3?\n```", "What is 2 + 3?"),
            (
                "Two sides: 3 and 4. What is the third?",
                "Two sides: 3 and 4. What is the third?",
            ),
            ("**Bold** start and **end**", "**Bold** start and **end**"),
        ];
        for (text, expected) in cases {
            assert_eq!(
                parse_rewrite(text, "What is 2?").as_deref(),
                Ok(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn invalid_rewrites_are_rejected() {
        let cases = [
            ("", "the rewrite is empty"),
            ("Problem:\n", "the rewrite is empty"),
            ("what is 2", "the rewrite is unchanged"),
            (
                "What is 2 + 3?\n\nSolution: 5",
                "the rewrite contains a solution",
            ),
            (
                "What is 2 + 3? \\boxed{5}",
                "the rewrite contains a solution",
            ),
            ("I'm sorry, but I cannot help.", "the rewriter declined"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_rewrite(text, "What is 2?"), Err(expected), "{text}");
        }
        assert_eq!(
            parse_rewrite(&"why? ".repeat(1000), "a"),
            Err("the rewrite is too long for a question")
        );
    }

    #[test]
    fn directions_have_different_prompts() {
        let harder = rewrite_prompt("q", Direction::Difficulty, Domain::Mathematics);
        let sounder = rewrite_prompt("q", Direction::Solvability, Domain::Mathematics);
        assert!(harder.contains("harder") && !sounder.contains("harder"));
        assert!(sounder.contains("missing") && !harder.contains("missing"));
    }

    proptest! {
        #[test]
        fn any_text_is_handled(text in "(\\PC|[\"*#:`\n]){0,60}", original in "\\PC{0,20}") {
            if let Ok(question) = parse_rewrite(&text, &original) {
                prop_assert!(!question.trim().is_empty());
            }
        }
    }
}
