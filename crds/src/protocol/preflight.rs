//! Preflight: a worker checks everything that a spec refers to before any stage starts. It reports the facts that the planner needs
//! (sizes, digests) and every error that the user must fix, all at once.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::v1alpha1::{StorageLocation, SynthesisRunSpec};

/// Largest report of one part in bytes: in a cluster it is a container's termination message.
pub const PART_MAX_BYTES: usize = 4096;

/// Files that one part checks.
const FILES_IN_A_PART: usize = 16;

/// What preflight found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreflightReport {
    /// One for each entry of `spec.models` that could be read, in order.
    pub models: Vec<ModelFacts>,
    /// One for each entry of `spec.seedQuestions` that could be read, in order.
    pub seed_questions: Vec<FileFacts>,
    /// One for each benchmark of the contamination filter that could be read, in order.
    pub benchmarks: Vec<FileFacts>,
    /// Whether the workspace is empty, so that no sealed stage can be found there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub workspace_is_empty: bool,
    /// Names of the models that were not checked, because they would have to be fetched and fetching was off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_fetched: Vec<String>,
    /// What is wrong.
    pub errors: Vec<FieldError>,
    /// What is odd but no obstacle.
    #[serde(default)]
    pub warnings: Vec<FieldError>,
}

impl PreflightReport {
    /// Returns the facts about the model `name`, if it could be read.
    pub fn model(&self, name: &str) -> Option<&ModelFacts> {
        self.models.iter().find(|facts| facts.name == name)
    }
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
    /// Head of a language model.
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
pub struct FieldError {
    /// Path of the field, e.g. `spec.models[1].source.path`.
    pub field: String,
    /// What is wrong and what to do, lower case, no full stop.
    pub message: String,
}

/// What one worker checks if preflight runs in parallel: a model, or some files. The parts of a spec are numbered, and together they
/// cover it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which of `spec.models`.
    pub models: Range<usize>,
    /// Which of `spec.seedQuestions`.
    pub seed_questions: Range<usize>,
    /// Which of the contamination filter's benchmarks.
    pub benchmarks: Range<usize>,
    /// Whether the stores of workspace and output are checked.
    pub places: bool,
}

impl Part {
    /// Returns all of `spec` in one part.
    pub fn whole(spec: &SynthesisRunSpec) -> Part {
        Part {
            models: 0..spec.models.len(),
            seed_questions: 0..spec.seed_questions.len(),
            benchmarks: 0..spec.benchmarks().len(),
            places: true,
        }
    }
}

/// Returns the parts of preflight for `spec`: one for each model, whose files take long to read, and one for every 16 question files. The
/// last one checks the stores too.
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
        spec.seed_questions.len() + spec.benchmarks().len(),
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

impl PreflightReport {
    /// Returns the report of a part as JSON of at most [`PART_MAX_BYTES`] bytes, without locations, since the spec has them. If it would be
    /// longer, warnings are dropped first, then the last errors.
    pub fn to_bounded_json(&self) -> String {
        let mut part = self.clone();
        for file in part.seed_questions.iter_mut().chain(&mut part.benchmarks) {
            file.location.clear();
        }
        let fitting = |part: &PreflightReport| {
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
        let all = part.errors.clone();
        for shown in (1..=all.len()).rev() {
            part.errors = all[..shown].to_vec();
            let more = all.len() - shown;
            if more > 0 {
                part.errors.push(FieldError {
                    field: "spec".into(),
                    message: format!("and {more} more errors, shown once these are fixed"),
                });
            }
            if let Some(json) = fitting(&part) {
                return json;
            }
        }
        // A single error that is too long: the beginning matters most.
        for error in &mut part.errors {
            error.message = error.message.chars().take(200).chain("…".chars()).collect();
        }
        fitting(&part).unwrap_or_default()
    }

    /// The whole preflight of `spec` from the findings of its parts, in their order.
    pub fn of_parts(
        spec: &SynthesisRunSpec,
        parts: impl IntoIterator<Item = PreflightReport>,
    ) -> PreflightReport {
        let mut whole = PreflightReport::default();
        for part in parts {
            let PreflightReport {
                models,
                seed_questions,
                benchmarks,
                workspace_is_empty,
                not_fetched,
                errors,
                warnings,
            } = part;
            whole.not_fetched.extend(not_fetched);
            whole.models.extend(models);
            whole.seed_questions.extend(seed_questions);
            whole.benchmarks.extend(benchmarks);
            whole.workspace_is_empty |= workspace_is_empty;
            whole.errors.extend(errors);
            whole.warnings.extend(warnings);
        }
        let seeds = whole.seed_questions.iter_mut().zip(&spec.seed_questions);
        seeds.for_each(|(facts, file)| fill_in(facts, &file.location()));
        let marks = whole.benchmarks.iter_mut().zip(spec.benchmarks());
        marks.for_each(|(facts, file)| fill_in(facts, &file.location()));
        whole
    }
}

fn fill_in(facts: &mut FileFacts, location: &StorageLocation) {
    if let Some((_, location)) = location.located().filter(|_| facts.location.is_empty()) {
        facts.location = location;
    }
}

impl std::fmt::Display for FieldError {
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
    fn preflight_parts_cover_the_spec_once() {
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
    fn preflight_parts_merge_to_the_whole() {
        let spec = spec(2, 20, 3);
        let mut whole = PreflightReport::default();
        let mut answers = Vec::new();
        for part in parts(&spec) {
            let found = PreflightReport {
                seed_questions: part.seed_questions.map(facts).collect(),
                benchmarks: part.benchmarks.map(|n| facts(1000 + n)).collect(),
                ..PreflightReport::default()
            };
            whole.seed_questions.extend(found.seed_questions.clone());
            whole.benchmarks.extend(found.benchmarks.clone());
            let json = found.to_bounded_json();
            assert!(json.len() <= PART_MAX_BYTES, "{}", json.len());
            answers.push(serde_json::from_str(&json).unwrap());
        }
        assert_eq!(PreflightReport::of_parts(&spec, answers), whole);
    }

    #[test]
    fn oversized_preflight_errors_are_cut() {
        let error = |n: usize, length: usize| FieldError {
            field: format!("spec.models[{n}]"),
            message: "x".repeat(length),
        };
        let many = PreflightReport {
            errors: (0..200).map(|n| error(n, 100)).collect(),
            warnings: vec![error(0, 1000)],
            ..PreflightReport::default()
        };
        let json = many.to_bounded_json();
        let read: PreflightReport = serde_json::from_str(&json).unwrap();
        assert!(json.len() <= PART_MAX_BYTES && read.errors.len() > 10 && read.warnings.is_empty());
        let last = read.errors.last().unwrap();
        assert_eq!(
            last.message,
            format!(
                "and {} more errors, shown once these are fixed",
                201 - read.errors.len()
            )
        );
        let long = PreflightReport {
            errors: vec![error(0, 10_000)],
            ..PreflightReport::default()
        };
        let read: PreflightReport = serde_json::from_str(&long.to_bounded_json()).unwrap();
        assert!(read.errors[0].message.ends_with('…'));
    }
}
