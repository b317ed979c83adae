//! The prompt for a chat model that serves as a reward model: its answer is one word, and the probability of Yes is the reward.

use scalequest_crds::v1alpha1::Domain;

/// Returns the verifier's prompt for a question and one response to it.
pub fn verifier_prompt(question: &str, response: &str, domain: Domain) -> String {
    let (kind, check) = match domain {
        Domain::Mathematics => (
            "problem",
            "Is every step right, and is the final answer correct?",
        ),
        Domain::Programming => (
            "task",
            "Does the program do all that the task asks, without mistakes?",
        ),
    };
    format!(
        "Check a solution.\n\nThe {kind}:\n{question}\n\nThe solution:\n{response}\n\n{check} Answer with one word, Yes or No."
    )
}

/// Parses the first token of an answer as Yes (`true`) or No (`false`), in any of its spellings.
pub fn parse_yes_no(token: &str) -> Option<bool> {
    match token
        .trim_matches(|c: char| c.is_whitespace() || matches!(c, '*' | '▁' | 'Ġ'))
        .to_ascii_lowercase()
        .as_str()
    {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yes_and_no_are_parsed() {
        let cases = [
            ("Yes", Some(true)),
            (" yes", Some(true)),
            ("YES", Some(true)),
            ("▁No", Some(false)),
            ("no", Some(false)),
            ("Not", None),
            ("Y", None),
            ("", None),
        ];
        for (token, expected) in cases {
            assert_eq!(parse_yes_no(token), expected, "{token}");
        }
    }
}
