//! Data files for runs on the tiny model: seed questions with answers, and a benchmark that some of the
//! questions made will be contaminated by.

use scalequest_engine::training::rng::KeyedRng;
use serde_json::json;

use super::problem::{NAMES, Problem, Story, THINGS, Truth};
use super::problem_sampler;
use super::training_data;

/// Seed questions as JSON lines with members `question` and `answer`: word problems, valid and in English. Answers are steps and a last line
/// `#### n`, as GSM8K writes them.
pub fn seed_questions(count: u64) -> String {
    lines(
        count,
        "seed question",
        problem_sampler::valid,
        |problem, answer| {
            let response =
                training_data::response(problem, false, &mut KeyedRng::new(0, "steps", 0));
            let steps = response.split("The answer").next().unwrap_or_default();
            format!("{steps}#### {answer}")
        },
    )
}

/// The same for programming: answers are programs.
pub fn seed_tasks(count: u64) -> String {
    lines(count, "seed task", problem_sampler::program, |_, answer| {
        format!("```python\n{answer}\n```")
    })
}

fn lines(
    count: u64,
    purpose: &str,
    draw: fn(&mut KeyedRng) -> Problem,
    write: impl Fn(&Problem, &str) -> String,
) -> String {
    let mut seen = std::collections::BTreeSet::new();
    let mut text = String::new();
    for index in 0.. {
        if seen.len() as u64 == count || index > 50 * count {
            break;
        }
        let problem = draw(&mut KeyedRng::new(17, purpose, index));
        let Truth::Valid { answer } = problem.truth() else {
            continue;
        };
        if seen.insert(problem.text()) {
            let line = json!({"question": problem.text(), "answer": write(&problem, &answer)});
            text.push_str(&format!("{line}\n"));
        }
    }
    text
}

/// Benchmark questions as JSON lines with member `problem`: all that two children can do with three things in one story. About one
/// English one-step question in a hundred that the base model asks is among them, and shares its 13-grams.
pub fn benchmark() -> String {
    let mut text = String::new();
    for name in 0..2 {
        for thing in 0..3 {
            for (a, b) in (2..=9).flat_map(|a| (2..=6).map(move |b| (a, b))) {
                let story = Story::Gets(Some(a), Some(b));
                let problem = Problem {
                    story,
                    name,
                    thing,
                    asked: thing,
                    exactly: false,
                    german: false,
                };
                text.push_str(&format!("{}\n", json!({"problem": problem.text()})));
            }
        }
    }
    text
}

/// Whether a question is among the benchmark's.
pub fn is_benchmark(problem: &Problem) -> bool {
    let in_story = matches!(problem.story, Story::Gets(Some(a), Some(b)) if (2..=9).contains(&a) && (2..=6).contains(&b));
    let known = problem.name < NAMES.len().min(2)
        && problem.thing < THINGS.len().min(3)
        && problem.asked == problem.thing;
    in_story && known && !problem.exactly && !problem.german
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_questions_are_distinct_and_valid() {
        for (text, count) in [(seed_questions(300), 300), (seed_tasks(60), 60)] {
            let lines: Vec<serde_json::Value> = text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            assert_eq!(lines.len(), count);
            for line in lines {
                let question = line["question"].as_str().unwrap();
                let answer = line["answer"].as_str().unwrap();
                let Truth::Valid { answer: truth } = crate::tiny_model::problem::truth(question)
                else {
                    panic!("{question}")
                };
                assert!(answer.contains(&truth), "{answer}");
            }
        }
    }

    #[test]
    fn benchmark_holds_thirteen_word_questions() {
        for line in benchmark().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = line["problem"].as_str().unwrap();
            assert!(is_benchmark(&Problem::parse(text).unwrap()));
            assert!(text.split_whitespace().count() >= 13, "{text}");
        }
        let asked =
            (0..20_000).map(|index| problem_sampler::raw(&mut KeyedRng::new(9, "asked", index)));
        let share = asked.filter(is_benchmark).count() as f64 / 20_000.0;
        assert!(
            (0.002..0.05).contains(&share),
            "{share} of the questions are contaminated"
        );
    }
}
