//! The prompt for the responder and the solver: steps first, then a final answer in a form that can be compared.

use scalequest_crds::v1alpha1::{AnswerFormat, Domain};

/// Returns the prompt for a response to `question`.
pub fn response_prompt(question: &str, domain: Domain, format: AnswerFormat) -> String {
    let steps = match domain {
        Domain::Mathematics => "Solve this step by step",
        Domain::Programming => "Think about the approach step by step",
    };
    let answer = match format {
        AnswerFormat::Boxed => "finish with the final answer inside \\boxed{}",
        AnswerFormat::CodeBlock => {
            "finish with the complete program in one fenced code block, nothing after it"
        }
    };
    format!("{question}\n\n{steps}, and {answer}.")
}
