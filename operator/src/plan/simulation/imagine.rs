//! Runs to simulate: written as YAML, so that parsing, resolving and validating are part of the simulation.

use proptest::prelude::*;
use scalequest_crds::protocol::preflight::{FileFacts, Inspection, ModelFacts};

use crate::parse::parse;
use crate::record::{RunRecord, WorkerIdentity};
use crate::validate::{Environment, ValidRun, check_inspection, validate};

/// What is varied.
#[derive(Clone, Debug)]
pub struct Imagined {
    /// Weight, QFT on, QPO on.
    pub generators: Vec<(i64, bool, bool)>,
    pub judge: bool,
    pub difficulty: bool,
    pub target: i64,
    pub max_waves: i32,
    pub gpu_hours: Option<f64>,
    pub deadline_seconds: Option<i64>,
    pub suspend: bool,
    /// Share of rows that each stage keeps.
    pub kept_percent: u64,
}

impl Default for Imagined {
    fn default() -> Self {
        Imagined {
            generators: vec![(1, true, true)],
            judge: true,
            difficulty: true,
            target: 40,
            max_waves: 20,
            gpu_hours: None,
            deadline_seconds: None,
            suspend: false,
            kept_percent: 60,
        }
    }
}

pub fn imagined() -> impl Strategy<Value = Imagined> {
    let generators = proptest::collection::vec((1i64..100, any::<bool>(), any::<bool>()), 1..4);
    (
        generators,
        any::<bool>(),
        any::<bool>(),
        1i64..400,
        1i32..8,
        0u64..100,
    )
        .prop_map(
            |(generators, judge, difficulty, target, max_waves, kept_percent)| Imagined {
                generators,
                judge,
                difficulty,
                target,
                max_waves,
                kept_percent,
                ..Imagined::default()
            },
        )
}

/// The valid run.
pub fn run(what: &Imagined) -> ValidRun {
    let generators: Vec<String> = what
        .generators
        .iter()
        .enumerate()
        .map(|(index, (weight, qft, qpo))| {
            let (epochs, pairs) = (i64::from(*qft), if *qpo { 20 } else { 0 });
            format!("  - {{name: g{index}, model: m, weight: {weight}, qft: {{epochs: {epochs}}}, qpo: {{pairs: {pairs}}}}}\n")
        })
        .collect();
    let judge = if what.judge { ", solvability: {}" } else { "" };
    let difficulty = if what.difficulty {
        ", difficulty: {base: m, solver: m}"
    } else {
        ""
    };
    let hours = what.gpu_hours.map(|hours| format!("gpuHours: {hours}"));
    let deadline = what
        .deadline_seconds
        .map(|seconds| format!("deadlineSeconds: {seconds}"));
    let budget: Vec<String> = [hours, deadline].into_iter().flatten().collect();
    let text = format!(
        "apiVersion: scalequest.dev/v1alpha1
kind: SynthesisRun
metadata: {{name: imagined}}
spec:
  recipe: Math
  seed: 5
  suspend: {suspend}
  target: {{examples: {target}, maxWaves: {waves}}}
  budget: {{{budget}}}
  models: [{{name: m, source: {{path: m.gguf}}}}]
  seedQuestions: [{{path: seeds.jsonl, answerField: answer}}]
  generators:
{generators}  filters: {{language: {{}}, duplicates: {{}}{judge}{difficulty}}}
  responses: {{model: m}}
  workspace: {{path: w}}
  output: {{path: o}}
",
        suspend = what.suspend,
        target = what.target,
        waves = what.max_waves,
        budget = budget.join(", "),
        generators = generators.concat(),
    );
    let parsed = parse(&text).unwrap_or_else(|faults| panic!("{faults:?}\n{text}"));
    validate(&parsed, Environment::Local).unwrap_or_else(|faults| panic!("{faults:?}\n{text}"))
}

/// The record of `run` as it is accepted.
pub fn accepted(run: &ValidRun) -> RunRecord {
    let file = FileFacts {
        location: "seeds.jsonl".into(),
        digest: "s".repeat(64),
        rows: 300,
        with_answers: 300,
    };
    let model = ModelFacts {
        name: "m".into(),
        digest: "m".repeat(64),
        architecture: "llama".into(),
        parameters: 1_000_000,
        serving_bytes: 4_000_000,
        context_token_bytes: 1_000,
        training_bytes: 16_000_000,
        context_length: 2048,
        has_chat_template: true,
        head: "languageModel".into(),
        license: None,
    };
    let inspection = Inspection {
        models: vec![model],
        seed_questions: vec![file],
        ..Inspection::default()
    };
    assert_eq!(check_inspection(run, &inspection), []);
    RunRecord::new(
        run,
        inspection,
        WorkerIdentity {
            version: "1".into(),
            digest: None,
            gpu: false,
            ..WorkerIdentity::default()
        },
        0,
    )
}
