//! Runs on the tiny models, as values: a spec that goes through every stage in seconds, and the means to change any part of
//! it. It starts nothing.

use serde_json::{Value, json};

use super::test_env::TestEnv;
use crate::tiny_model::{TinyModels, models};

/// A run's spec in the making.
#[derive(Clone, Debug, PartialEq)]
pub struct TinyRun {
    spec: Value,
    seeds: usize,
}

/// The tiny models, trained by whoever comes first.
///
/// # Panics
/// If they can neither be found nor trained.
pub fn tiny_models() -> TinyModels {
    models().unwrap_or_else(|error| panic!("no tiny models: {error:#}; make them with `cargo run --release --bin tiny-model -- --cache`"))
}

impl TinyRun {
    /// A run with every optional stage on: two generators (one trained in full, one by adapters), QFT, QPO, all filters,
    /// difficulty, a scalar reward model, agreement; in at least two waves, since the pilot asks 32 questions.
    pub fn full(name: &str) -> Self {
        let models = tiny_models();
        let qft = |tuning: &str| json!({"epochs": 1, "learningRate": 2.0e-4, "maxLength": 64, "batchSize": 1, "tuning": tuning});
        let qpo = |tuning: &str| {
            let rewriting = json!({"temperature": 0, "maxNewTokens": 64});
            json!({"pairs": 24, "rewriter": "chat", "rewriting": rewriting, "learningRate": 1.0e-4, "maxLength": 96, "batchSize": 1, "tuning": tuning})
        };
        let sampling = json!({"temperature": 1.0, "topP": 0.99, "maxNewTokens": 48});
        let spec = json!({
            "apiVersion": "scalequest.dev/v1alpha1",
            "kind": "SynthesisRun",
            "metadata": {"name": name},
            "spec": {
                "recipe": "Math",
                "seed": 11,
                "target": {"examples": 30, "maxWaves": 12},
                "models": [
                    {"name": "chat", "source": {"path": models.chat}},
                    {"name": "reward", "source": {"path": models.reward}},
                ],
                "seedQuestions": [{"path": "seeds.jsonl", "answerField": "answer"}],
                "generators": [
                    {"name": "ada", "model": "chat", "weight": 60, "qft": qft("Full"), "qpo": qpo("Full"), "sampling": sampling},
                    {"name": "bob", "model": "chat", "weight": 40, "qft": qft("Lora"), "qpo": qpo("Lora"), "sampling": sampling},
                ],
                "filters": {
                    "language": {"keep": ["en"]},
                    "contamination": {"ngram": 13, "benchmarks": [{"path": models.benchmark, "questionField": "problem"}]},
                    "duplicates": {},
                    "solvability": {"model": "chat", "sampling": {"temperature": 0, "maxNewTokens": 24}},
                    "difficulty": {
                        "base": "chat", "solver": "chat", "samples": 2, "epochs": 1, "batchSize": 2, "minimum": 0.02, "generators": ["bob"],
                        "sampling": {"temperature": 0.7, "maxNewTokens": 48},
                    },
                },
                "responses": {"model": "chat", "samples": 3, "sampling": {"temperature": 0.7, "topP": 0.95, "maxNewTokens": 48}},
                "reward": {"model": "reward"},
                "verification": {"agreement": {"atLeast": 2}},
                "workspace": {"path": "workspace"},
                "output": {"path": "dataset"},
            },
        });
        TinyRun { spec, seeds: 72 }
    }

    /// The smallest run that publishes: one untrained generator, no filter but the duplicates', one model in every part.
    pub fn small(name: &str) -> Self {
        Self::full(name)
            .set("/spec/recipe", "MathSimple")
            .set("/spec/generators", json!([{"name": "ada", "model": "chat", "qft": {"epochs": 0}, "qpo": {"pairs": 0}, "sampling": {"temperature": 1.0, "topP": 0.99, "maxNewTokens": 48}}]))
            .set("/spec/models", json!([{"name": "chat", "source": {"path": tiny_models().chat}}]))
            .set("/spec/filters", json!({"duplicates": {}}))
            .set("/spec/reward", json!({"model": "chat"}))
            .set("/spec/target", json!({"examples": 8, "maxWaves": 6}))
    }

    /// A run with one trained generator whose model, judge and responder are one model, on the engine that a spec would have as `engine`.
    pub fn served(name: &str, engine: Value) -> Self {
        let chat = tiny_models().chat;
        let qft = json!({"epochs": 1, "learningRate": 2.0e-4, "maxLength": 64, "batchSize": 1, "tuning": "Full"});
        let judge = json!({"model": "served", "sampling": {"temperature": 0, "maxNewTokens": 24}});
        Self::small(name)
            .set(
                "/spec/models",
                json!([
                    {"name": "chat", "source": {"path": chat}},
                    {"name": "served", "source": {"path": chat}, "engine": engine},
                ]),
            )
            .set("/spec/generators/0/model", "served")
            .set("/spec/generators/0/qft", qft)
            .set("/spec/filters/solvability", judge)
            .set("/spec/responses/model", "served")
            .set("/spec/target/examples", 4)
    }

    /// The smallest run whose reward model has a scalar head: `model` is its entry but for the name.
    pub fn rewarded(name: &str, mut model: Value) -> Self {
        model["name"] = "reward".into();
        let chat = json!({"name": "chat", "source": {"path": tiny_models().chat}});
        Self::small(name)
            .set("/spec/models", json!([chat, model]))
            .set("/spec/reward/model", "reward")
    }

    /// Puts a value at a JSON pointer; the member is made where its parent has none.
    ///
    /// # Panics
    /// If the parent is not there.
    #[track_caller]
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let (parent, name) = pointer.rsplit_once('/').expect("a JSON pointer");
        let parent = self
            .spec
            .pointer_mut(parent)
            .unwrap_or_else(|| panic!("nothing is at {parent}"));
        match parent {
            Value::Object(members) => {
                members.insert(name.into(), value.into());
            }
            Value::Array(items) => items[name.parse::<usize>().expect("an index")] = value.into(),
            other => panic!("{other} has no members"),
        }
        self
    }

    /// Removes the member at a JSON pointer.
    #[track_caller]
    pub fn remove(mut self, pointer: &str) -> Self {
        let (parent, name) = pointer.rsplit_once('/').expect("a JSON pointer");
        let members = self
            .spec
            .pointer_mut(parent)
            .and_then(Value::as_object_mut)
            .expect("a parent with members");
        assert!(
            members.shift_remove(name).is_some(),
            "nothing is at {pointer}"
        );
        self
    }

    /// What is at a JSON pointer.
    #[track_caller]
    pub fn at(&self, pointer: &str) -> &Value {
        self.spec
            .pointer(pointer)
            .unwrap_or_else(|| panic!("nothing is at {pointer}"))
    }

    /// With this many seed questions.
    pub fn seeds(mut self, seeds: usize) -> Self {
        self.seeds = seeds;
        self
    }

    /// The spec as text. JSON is YAML.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(&self.spec).expect("a value serialises")
    }

    /// Its seed questions, as the lines of a file.
    pub fn seed_lines(&self) -> String {
        let all = std::fs::read_to_string(tiny_models().seed_questions).expect("seed questions");
        let some: Vec<&str> = all.lines().take(self.seeds).collect();
        assert_eq!(some.len(), self.seeds, "the tiny seed questions are fewer");
        some.join("\n") + "\n"
    }

    /// Writes `run.yaml` and its seed questions into a test environment.
    pub fn write(&self, env: &TestEnv) {
        env.write("seeds.jsonl", self.seed_lines());
        env.write("run.yaml", self.text());
    }
}
