//! What a chat model is asked when it stands in for a reward model: one word, so that the probability of Yes is a reward.

use scalequest_crds::v1alpha1::Domain;

/// The verifier's prompt for a question and one response to it.
pub fn rewarding(question: &str, response: &str, domain: Domain) -> String {
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

/// Whether the text of a token, as the first of an answer, says Yes (`true`) or No (`false`), in any of its spellings.
pub fn says(token: &str) -> Option<bool> {
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
    fn spellings_of_yes_and_no_are_known() {
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
            assert_eq!(says(token), expected, "{token}");
        }
    }
}
