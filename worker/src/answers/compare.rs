//! Finds and compares final answers: the only place that decides which part of a response is its answer, and when two answers
//! are equal. It knows the two answer formats and nothing of rows, stages or rewards.

use scalequest_crds::v1alpha1::AnswerFormat;

use super::{boxed, code, expression, stated};

/// Returns the final answer of a response in normal form; `None` if it has none.
///
/// Text before `</think>` is reasoning, not answer; a response that never ends its reasoning has no answer. `Boxed`: the
/// last `\boxed{}`, else the last line that states an answer (`#### 18`, `the answer is 18`). `CodeBlock`: the last complete
/// fenced block.
pub fn final_answer(response: &str, format: AnswerFormat) -> Option<String> {
    let answer = after_reasoning(response)?;
    match format {
        AnswerFormat::Boxed => {
            let found = boxed::last_boxed(answer)
                .or_else(|| stated::last_stated(answer).map(str::to_owned))?;
            Some(expression::normal_expression(&found)).filter(|normal| !normal.is_empty())
        }
        AnswerFormat::CodeBlock => code::last_code_block(answer),
    }
}

/// Returns the normal form of a reference answer: of the boxed or stated answer (`#### 18` in GSM8K), else of all of it.
pub fn reference_answer(answer: &str, format: AnswerFormat) -> Option<String> {
    final_answer(answer, format)
        .or_else(|| Some(normal_form(answer, format)).filter(|normal| !normal.is_empty()))
}

/// Returns the normal form of a bare answer.
pub fn normal_form(answer: &str, format: AnswerFormat) -> String {
    match format {
        AnswerFormat::Boxed => expression::normal_expression(answer),
        AnswerFormat::CodeBlock => {
            code::last_code_block(&format!("```\n{answer}\n```")).unwrap_or_default()
        }
    }
}

/// Whether two answers in normal form are equal. An empty answer equals none.
pub fn same_answer(left: &str, right: &str) -> bool {
    !left.is_empty() && left == right
}

fn after_reasoning(response: &str) -> Option<&str> {
    match response.rfind("</think>") {
        Some(end) => Some(&response[end + "</think>".len()..]),
        None => (!response.contains("<think>")).then_some(response),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const FORMATS: [AnswerFormat; 2] = [AnswerFormat::Boxed, AnswerFormat::CodeBlock];

    #[test]
    fn boxes_precede_statements_after_reasoning() {
        let cases = [
            (r"The answer is 3. Checked: \boxed{4}", Some("4")),
            ("The answer is $18.", Some("18")),
            (r"<think>\boxed{1}</think> so \boxed{2}", Some("2")),
            (r"<think>\boxed{1}</think> so I stop", None),
            (r"<think> it is \boxed{1}", None),
            (r"is \boxed{1}?</think> \boxed{2}", Some("2")),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(
                final_answer(text, AnswerFormat::Boxed).as_deref(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn reference_answers_are_stated_or_whole() {
        let cases = [
            ("she has 9*2 = 18\n#### 18", "18"),
            ("1,000", "1000"),
            (r"so $\boxed{\frac12}$", "0.5"),
            (r"$x^{2}$", "x^2"),
        ];
        for (text, expected) in cases {
            assert_eq!(
                reference_answer(text, AnswerFormat::Boxed).as_deref(),
                Some(expected),
                "{text}"
            );
        }
    }

    fn shared(path: &str) -> Option<String> {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../shared/data")
            .join(path);
        let text = std::fs::read_to_string(&file).ok();
        if text.is_none() {
            println!("skipped: {} is not there", file.display());
        }
        text
    }

    #[test]
    fn gsm8k_verdicts_are_reproduced() {
        let Some(text) = shared("gsm8k/example_model_solutions.jsonl") else {
            return;
        };
        let (mut agreed, mut all) = (0, 0);
        for line in text.lines() {
            let row: Value = serde_json::from_str(line).expect("a line of JSON");
            let truth = reference_answer(
                row["ground_truth"].as_str().expect("a truth"),
                AnswerFormat::Boxed,
            );
            for solution in row
                .as_object()
                .expect("an object")
                .values()
                .filter(|value| value.is_object())
            {
                let found = final_answer(
                    solution["solution"].as_str().expect("a text"),
                    AnswerFormat::Boxed,
                );
                let ours = found.is_some() && found == truth;
                agreed += usize::from(ours == solution["is_correct"].as_bool().expect("a verdict"));
                all += 1;
            }
        }
        println!("{agreed} of {all} verdicts agree");
        assert!(agreed * 1000 >= all * 995, "{agreed} of {all}");
    }

    #[test]
    fn published_responses_have_final_answers() {
        let Some(text) = shared("scalequest/samples.jsonl") else {
            return;
        };
        let responses: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect();
        let without: Vec<_> = responses
            .iter()
            .filter_map(|row| row["response"].as_str())
            .filter(|response| final_answer(response, AnswerFormat::Boxed).is_none())
            .collect();
        println!("{} of {} have none", without.len(), responses.len());
        let really_without = without
            .iter()
            .filter(|response| !response.contains("\\boxed{"))
            .count();
        assert_eq!(without.len(), really_without, "{without:#?}");
    }

    proptest! {
        #[test]
        fn any_text_is_handled(text in "(\\PC|[\\\\{}()\\[\\]$,.^_=/`\n 0-9a-z]|\\\\boxed\\{|\\\\frac|\\\\text\\{|```|answer is |</think>){0,60}") {
            for format in FORMATS {
                let found = final_answer(&text, format);
                prop_assert!(found.as_deref() != Some(""));
                let _ = reference_answer(&text, format);
            }
            let once = normal_form(&text, AnswerFormat::CodeBlock);
            prop_assert!(!once.ends_with('\n'));
        }

        #[test]
        fn boxed_integers_are_found(n in -1_000_000_000_i64..1_000_000_000, before in "[^\\\\<]{0,40}") {
            let text = format!("{before}\n\\boxed{{{n}}}");
            prop_assert_eq!(final_answer(&text, AnswerFormat::Boxed), Some(n.to_string()));
        }
    }
}
