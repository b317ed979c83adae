//! What the tiny model is taught: conversations for each role it has, with the real prompts of the stages. How
//! imperfect it is decided here: what it asks, how often it is wrong, and that it guesses at what
//! cannot be known.

use scalequest_crds::protocol::rows::Direction;
use scalequest_crds::v1alpha1::{AnswerFormat, Domain};
use scalequest_engine::training::rng::KeyedRng;
use scalequest_worker::prompts::judge::judge_prompt;
use scalequest_worker::prompts::response::response_prompt;
use scalequest_worker::prompts::rewrite::rewrite_prompt;
use scalequest_worker::prompts::verifier::verifier_prompt;

use super::problem::{Flaw, Problem, Story, Truth};
use super::problem_sampler;

/// Share of wrong responses that the responder learns from.
pub const WRONG: f64 = 0.2;

/// One exchange: what the model reads and what it learns to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The user's message; `None` where the model is to ask, given the bare prefix.
    pub prompt: Option<String>,
    /// What to say.
    pub reply: String,
}

/// A role in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Asks questions.
    Generator,
    /// Says whether a question can be solved.
    Judge,
    /// Rewrites a question in a direction.
    Rewriter,
    /// Answers.
    Responder,
    /// Says whether an answer is right.
    Verifier,
}

/// Pieces of replies, as tokens.
pub const PIECES: [&str; 20] = [
    "Everything is given.\n",
    "A number is missing.\n",
    "The numbers contradict each other.\n",
    "The text is not in English.\n",
    "Yes",
    "No",
    " Yes",
    " No",
    "yes",
    "no",
    " yes",
    " no",
    " = ",
    " + ",
    " - ",
    " * ",
    "The answer is \\boxed{",
    "}.",
    "```python\ndef f(x):\n    return x",
    "\n```",
];

/// The exchange with this number. Exchanges do not depend on each other.
pub fn exchange(seed: i64, index: u64) -> Exchange {
    let mut draws = KeyedRng::new(seed, "lesson", index);
    let role = match draws.below(20) {
        0..3 => Role::Generator,
        3..6 => Role::Judge,
        6..8 => Role::Rewriter,
        8..14 => Role::Responder,
        _ => Role::Verifier,
    };
    for_role(role, &mut draws)
}

/// An exchange for one role.
pub fn for_role(role: Role, draws: &mut KeyedRng) -> Exchange {
    match role {
        Role::Generator => Exchange {
            prompt: None,
            reply: problem_sampler::raw(draws).text(),
        },
        Role::Judge => {
            let problem = problem_sampler::raw(draws);
            Exchange {
                prompt: Some(judge_prompt(&problem.text(), domain(&problem))),
                reply: verdict(&problem),
            }
        }
        Role::Rewriter => {
            let problem = problem_sampler::raw(draws);
            let direction = if draws.below(2) == 0 {
                Direction::Solvability
            } else {
                Direction::Difficulty
            };
            let rewrite = match direction {
                Direction::Solvability => problem_sampler::mended(&problem, draws),
                Direction::Difficulty => problem_sampler::harder(&problem, draws),
            };
            Exchange {
                prompt: Some(rewrite_prompt(&problem.text(), direction, domain(&problem))),
                reply: rewrite.text(),
            }
        }
        Role::Responder => {
            let problem = problem_sampler::raw(draws);
            let is_wrong = draws.uniform() < WRONG;
            let reply = response(&problem, is_wrong, draws);
            Exchange {
                prompt: Some(asked(&problem)),
                reply,
            }
        }
        Role::Verifier => {
            // Mostly what can be right or wrong; a response to a flawed question is never right.
            let problem = if draws.below(8) == 0 {
                problem_sampler::raw(draws)
            } else {
                sound(draws)
            };
            let is_wrong = draws.below(2) == 0;
            let response = response(&problem, is_wrong, draws);
            let is_right = is_right(&problem.truth(), &response);
            let prompt = verifier_prompt(&problem.text(), &response, domain(&problem));
            Exchange {
                prompt: Some(prompt),
                reply: if is_right { "Yes" } else { "No" }.into(),
            }
        }
    }
}

/// A valid problem of either domain.
pub fn sound(draws: &mut KeyedRng) -> Problem {
    if draws.uniform() < problem_sampler::PROGRAMS {
        problem_sampler::program(draws)
    } else {
        problem_sampler::valid(draws)
    }
}

/// The domain a problem belongs to.
pub fn domain(problem: &Problem) -> Domain {
    if problem.is_program() {
        Domain::Programming
    } else {
        Domain::Mathematics
    }
}

/// The form that a problem's final answer has.
pub fn form(problem: &Problem) -> AnswerFormat {
    if problem.is_program() {
        AnswerFormat::CodeBlock
    } else {
        AnswerFormat::Boxed
    }
}

/// What a responder is asked.
pub fn asked(problem: &Problem) -> String {
    response_prompt(&problem.text(), domain(problem), form(problem))
}

/// The judge's words.
fn verdict(problem: &Problem) -> String {
    match problem.truth() {
        Truth::Valid { .. } => "Everything is given.\nYes",
        Truth::Invalid(Flaw::Missing | Flaw::Malformed) => "A number is missing.\nNo",
        Truth::Invalid(Flaw::Contradictory) => "The numbers contradict each other.\nNo",
        Truth::Invalid(Flaw::Foreign) => "The text is not in English.\nNo",
    }
    .into()
}

/// A response: the steps and the final answer. A wrong one slips in the last step. What is not given is guessed, each time
/// anew, so that the responses to a flawed question rarely agree.
pub fn response(problem: &Problem, is_wrong: bool, draws: &mut KeyedRng) -> String {
    let slip = if is_wrong {
        1 + draws.below(3) as i64
    } else {
        0
    };
    let slip = if draws.below(2) == 0 { slip } else { -slip };
    if problem.is_program() {
        let guessed = |amount: Option<i64>, draws: &mut KeyedRng| {
            amount.unwrap_or_else(|| 2 + draws.below(5) as i64)
        };
        let formula = match problem.story {
            Story::Times(a) => format!(" * {}", guessed(a, draws) + slip.abs()),
            Story::TimesPlus(a, b) => format!(
                " * {} + {}",
                guessed(a, draws),
                guessed(b, draws) + slip.abs()
            ),
            _ => format!(" + {}", guessed(problem.amounts()[0], draws) + slip.abs()),
        };
        return format!("```python\ndef f(x):\n    return x{formula}\n```");
    }
    let mut known = problem
        .amounts()
        .into_iter()
        .map(|amount| amount.unwrap_or_else(|| 2 + draws.below(5) as i64));
    let mut next = || known.next().unwrap_or(0);
    let (a, b) = (next(), next());
    let (sign, value) = match problem.story {
        Story::Gives(..) => ('-', a - b),
        Story::Boxes(..) | Story::BoxesGives(..) => ('*', a * b),
        _ => ('+', a + b),
    };
    let (steps, value) = if problem.is_hard() {
        let c = next();
        let last = (value - c + slip).max(0);
        (
            format!("{a} {sign} {b} = {value}\n{value} - {c} = {last}\n"),
            last,
        )
    } else {
        let value = (value + slip).max(0);
        (format!("{a} {sign} {b} = {value}\n"), value)
    };
    format!("{steps}The answer is \\boxed{{{value}}}.")
}

/// Whether a response gives the true answer.
pub fn is_right(truth: &Truth, response: &str) -> bool {
    let Truth::Valid { answer } = truth else {
        return false;
    };
    if answer.starts_with("def ") {
        return response.contains(&format!("```python\n{answer}\n```"));
    }
    let boxed = response
        .rsplit_once("\\boxed{")
        .and_then(|(_, rest)| rest.split_once('}'));
    boxed.is_some_and(|(value, _)| value.trim() == answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wrong_responses_are_wrong() {
        for index in 0..2000 {
            let mut draws = KeyedRng::new(5, "response", index);
            let problem = sound(&mut draws);
            let right = response(&problem, false, &mut draws);
            assert!(
                is_right(&problem.truth(), &right),
                "{}\n{right}",
                problem.text()
            );
            // A slip below zero is cut at zero, which may be the truth; such a response is right.
            let wrong = response(&problem, true, &mut draws);
            let cut = wrong.contains("boxed{0}");
            assert!(
                cut || !is_right(&problem.truth(), &wrong),
                "{}\n{wrong}",
                problem.text()
            );
        }
    }

    #[test]
    fn every_role_has_training_data() {
        let exchanges: Vec<Exchange> = (0..400).map(|index| exchange(6, index)).collect();
        assert!(exchanges.iter().any(|exchange| exchange.prompt.is_none()));
        assert!(exchanges.iter().all(|exchange| !exchange.reply.is_empty()));
        for reply in ["Yes", "No", "Everything is given.\nYes"] {
            assert!(
                exchanges.iter().any(|exchange| exchange.reply == reply),
                "{reply}"
            );
        }
    }
}
