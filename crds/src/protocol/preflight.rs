//! What a worker finds when it looks at everything that a spec refers to, before anything is started: the facts that the
//! planner needs (sizes, digests), and every fault a person must mend, all at once.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::v1alpha1::SynthesisRunSpec;

/// Largest answer for one part in bytes: in a cluster it is a container's termination message.
pub const PART_MAX_BYTES: usize = 4096;

/// Files that one part looks at.
const FILES_IN_A_PART: usize = 16;

/// The result of an inspection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inspection {
    /// One for each entry of `spec.models` that could be read, in order.
    pub models: Vec<ModelFacts>,
    /// One for each entry of `spec.seedQuestions` that could be read, in order.
    pub seed_questions: Vec<FileFacts>,
    /// One for each benchmark of the contamination filter that could be read, in order.
    pub benchmarks: Vec<FileFacts>,
    /// Whether nothing lies in the workspace, so that no stage needs to be looked for there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub workspace_is_empty: bool,
    /// Names of the models that would have to be fetched first, where nothing was to be fetched: they were not looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_fetched: Vec<String>,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// What is odd but no obstacle.
    #[serde(default)]
    pub warnings: Vec<Fault>,
}

/// What a model is, from its headers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelFacts {
    /// Name in `spec.models`.
    pub name: String,
    /// SHA-256 of its files.
    pub digest: String,
    /// Architecture, e.g. `qwen2`.
    pub architecture: String,
    /// Number of parameters.
    pub parameters: i64,
    /// Bytes of memory to serve it, without what it keeps of the texts under way.
    pub serving_bytes: i64,
    /// Bytes that each token of a text under way takes more, over all texts that are served at once.
    #[serde(default)]
    pub context_token_bytes: i64,
    /// Bytes of memory to train it in full.
    pub training_bytes: i64,
    /// Longest context in tokens.
    pub context_length: i64,
    /// Whether it has a chat template.
    pub has_chat_template: bool,
    /// [`LANGUAGE_MODEL`](Self::LANGUAGE_MODEL), [`SCALAR`](Self::SCALAR) or [`CLASSES`](Self::CLASSES).
    pub head: String,
    /// Licence that its files name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
}

impl ModelFacts {
    /// Head of a model that says text.
    pub const LANGUAGE_MODEL: &'static str = "languageModel";
    /// Head that gives one number, such as a reward.
    pub const SCALAR: &'static str = "scalar";
    /// Head that gives a number for each of several classes.
    pub const CLASSES: &'static str = "classes";
}

/// What a JSONL file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileFacts {
    /// Path or URI.
    pub location: String,
    /// SHA-256 of its bytes.
    pub digest: String,
    /// Questions in it.
    pub rows: i64,
    /// Questions with an answer.
    pub with_answers: i64,
}

/// Something wrong with the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Path of the field, e.g. `spec.models[1].source.path`.
    pub field: String,
    /// What is wrong and what to do, lower case, no full stop.
    pub message: String,
}

/// What one worker looks at, where an inspection is shared out: a model, or some files. The parts of a spec are numbered, and together
/// they are all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which of `spec.models`.
    pub models: Range<usize>,
    /// Which of `spec.seedQuestions`.
    pub seed_questions: Range<usize>,
    /// Which of the contamination filter's benchmarks.
    pub benchmarks: Range<usize>,
    /// Whether the stores of workspace and output are looked at.
    pub places: bool,
}

impl Part {
    /// All of `spec` in one part.
    pub fn whole(spec: &SynthesisRunSpec) -> Part {
        Part {
            models: 0..spec.models.len(),
            seed_questions: 0..spec.seed_questions.len(),
            benchmarks: 0..benchmarks(spec),
            places: true,
        }
    }
}

fn benchmarks(spec: &SynthesisRunSpec) -> usize {
    let contamination = spec
        .filters
        .as_ref()
        .and_then(|filters| filters.contamination.as_ref());
    contamination.map_or(0, |contamination| contamination.benchmarks.len())
}

/// The parts of an inspection of `spec`: a part for each model, whose files take long to read, and one for every 16 question files;
/// the last one looks at the stores too.
pub fn parts(spec: &SynthesisRunSpec) -> Vec<Part> {
    let none = || Part {
        models: 0..0,
        seed_questions: 0..0,
        benchmarks: 0..0,
        places: false,
    };
    let mut parts: Vec<Part> = (0..spec.models.len())
        .map(|index| Part {
            models: index..index + 1,
            ..none()
        })
        .collect();
    let (seeds, all) = (
        spec.seed_questions.len(),
        spec.seed_questions.len() + benchmarks(spec),
    );
    let chunks = all.div_ceil(FILES_IN_A_PART).max(1);
    for chunk in 0..chunks {
        let (start, end) = (
            chunk * FILES_IN_A_PART,
            ((chunk + 1) * FILES_IN_A_PART).min(all),
        );
        parts.push(Part {
            seed_questions: start.min(seeds)..end.min(seeds),
            benchmarks: start.max(seeds) - seeds..end.max(seeds) - seeds,
            places: chunk + 1 == chunks,
            ..none()
        });
    }
    parts
}

impl Inspection {
    /// The findings of a part as JSON of at most [`PART_MAX_BYTES`] bytes. Locations are left out, since the spec has them; warnings, then
    /// the last faults are given up where it would be longer.
    pub fn to_bounded_json(&self) -> String {
        let mut part = self.clone();
        for file in part.seed_questions.iter_mut().chain(&mut part.benchmarks) {
            file.location.clear();
        }
        let fitting = |part: &Inspection| {
            let json = serde_json::to_string(part).unwrap_or_default();
            (json.len() <= PART_MAX_BYTES).then_some(json)
        };
        loop {
            match fitting(&part) {
                Some(json) => return json,
                None if part.warnings.pop().is_none() => break,
                None => {}
            }
        }
        let all = part.faults.clone();
        for shown in (1..=all.len()).rev() {
            part.faults = all[..shown].to_vec();
            let more = all.len() - shown;
            if more > 0 {
                part.faults.push(Fault {
                    field: "spec".into(),
                    message: format!("and {more} more faults, shown once these are mended"),
                });
            }
            if let Some(json) = fitting(&part) {
                return json;
            }
        }
        // A single fault that is too long: its words begin with what matters.
        for fault in &mut part.faults {
            fault.message = fault.message.chars().take(200).chain("…".chars()).collect();
        }
        fitting(&part).unwrap_or_default()
    }

    /// The whole inspection of `spec` from the findings of its parts, in their order.
    pub fn of_parts(
        spec: &SynthesisRunSpec,
        parts: impl IntoIterator<Item = Inspection>,
    ) -> Inspection {
        let mut whole = Inspection::default();
        for part in parts {
            let Inspection {
                models,
                seed_questions,
                benchmarks,
                workspace_is_empty,
                not_fetched,
                faults,
                warnings,
            } = part;
            whole.not_fetched.extend(not_fetched);
            whole.models.extend(models);
            whole.seed_questions.extend(seed_questions);
            whole.benchmarks.extend(benchmarks);
            whole.workspace_is_empty |= workspace_is_empty;
            whole.faults.extend(faults);
            whole.warnings.extend(warnings);
        }
        let contamination = spec
            .filters
            .as_ref()
            .and_then(|filters| filters.contamination.as_ref());
        let benchmarks = contamination.into_iter().flat_map(|on| &on.benchmarks);
        let seeds = whole.seed_questions.iter_mut().zip(&spec.seed_questions);
        seeds.for_each(|(facts, file)| fill_in(facts, file.located()));
        let marks = whole.benchmarks.iter_mut().zip(benchmarks);
        marks.for_each(|(facts, file)| fill_in(facts, file.located()));
        whole
    }
}

fn fill_in(facts: &mut FileFacts, located: Option<(&'static str, String)>) {
    if let Some((_, location)) = located.filter(|_| facts.location.is_empty()) {
        facts.location = location;
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1alpha1::{Benchmark, Contamination, Filters, SeedQuestions, SynthesisRun};

    fn spec(models: usize, seeds: usize, benchmarks: usize) -> SynthesisRunSpec {
        let model =
            |n: usize| serde_json::json!({"name": format!("m{n}"), "source": {"path": "p"}});
        let run: SynthesisRun = serde_json::from_value(serde_json::json!({
            "apiVersion": "scalequest.dev/v1alpha1", "kind": "SynthesisRun", "metadata": {"name": "r"},
            "spec": {
                "recipe": "Math", "target": {"examples": 1}, "models": (0..models).map(model).collect::<Vec<_>>(), "seedQuestions": [],
                "generators": [], "responses": {"model": "m0"}, "workspace": {"path": "w"}, "output": {"path": "o"}
            }
        }))
        .unwrap();
        let mut spec = run.spec;
        let file = |n: usize| Some(format!("file-{n}"));
        spec.seed_questions = (0..seeds)
            .map(|n| SeedQuestions {
                path: file(n),
                ..SeedQuestions::default()
            })
            .collect();
        let benchmarks = (0..benchmarks)
            .map(|n| Benchmark {
                path: file(1000 + n),
                ..Benchmark::default()
            })
            .collect();
        spec.filters = Some(Filters {
            contamination: Some(Contamination {
                ngram: None,
                benchmarks,
            }),
            ..Filters::default()
        });
        spec
    }

    fn facts(n: usize) -> FileFacts {
        FileFacts {
            location: format!("file-{n}"),
            digest: "0".repeat(64),
            rows: 1_000_000,
            with_answers: 1_000_000,
        }
    }

    #[test]
    fn the_parts_are_all_of_a_spec_and_each_thing_is_in_one() {
        for (models, seeds, benchmarks) in [
            (1, 1, 0),
            (2, 1, 1),
            (16, 64, 32),
            (3, 16, 16),
            (1, 15, 2),
            (1, 17, 0),
        ] {
            let spec = spec(models, seeds, benchmarks);
            let parts = parts(&spec);
            let all = |which: fn(&Part) -> &Range<usize>| {
                parts
                    .iter()
                    .flat_map(|part| which(part).clone())
                    .collect::<Vec<_>>()
            };
            assert_eq!(all(|part| &part.models), (0..models).collect::<Vec<_>>());
            assert_eq!(
                all(|part| &part.seed_questions),
                (0..seeds).collect::<Vec<_>>()
            );
            assert_eq!(
                all(|part| &part.benchmarks),
                (0..benchmarks).collect::<Vec<_>>()
            );
            assert_eq!(parts.iter().filter(|part| part.places).count(), 1);
        }
    }

    #[test]
    fn the_answers_of_the_parts_are_the_whole_again() {
        let spec = spec(2, 20, 3);
        let mut whole = Inspection::default();
        let mut answers = Vec::new();
        for part in parts(&spec) {
            let found = Inspection {
                seed_questions: part.seed_questions.map(facts).collect(),
                benchmarks: part.benchmarks.map(|n| facts(1000 + n)).collect(),
                ..Inspection::default()
            };
            whole.seed_questions.extend(found.seed_questions.clone());
            whole.benchmarks.extend(found.benchmarks.clone());
            let json = found.to_bounded_json();
            assert!(json.len() <= PART_MAX_BYTES, "{}", json.len());
            answers.push(serde_json::from_str(&json).unwrap());
        }
        assert_eq!(Inspection::of_parts(&spec, answers), whole);
    }

    #[test]
    fn an_answer_with_too_many_or_too_long_faults_is_cut_and_says_so() {
        let fault = |n: usize, length: usize| Fault {
            field: format!("spec.models[{n}]"),
            message: "x".repeat(length),
        };
        let many = Inspection {
            faults: (0..200).map(|n| fault(n, 100)).collect(),
            warnings: vec![fault(0, 1000)],
            ..Inspection::default()
        };
        let json = many.to_bounded_json();
        let read: Inspection = serde_json::from_str(&json).unwrap();
        assert!(json.len() <= PART_MAX_BYTES && read.faults.len() > 10 && read.warnings.is_empty());
        let last = read.faults.last().unwrap();
        assert_eq!(
            last.message,
            format!(
                "and {} more faults, shown once these are mended",
                201 - read.faults.len()
            )
        );
        let long = Inspection {
            faults: vec![fault(0, 10_000)],
            ..Inspection::default()
        };
        let read: Inspection = serde_json::from_str(&long.to_bounded_json()).unwrap();
        assert!(read.faults[0].message.ends_with('…'));
    }
}
