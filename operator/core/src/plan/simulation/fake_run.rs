//! Runs to simulate: written as YAML, so that parsing, resolving and validating are part of the simulation.

use scalequest_crds::protocol::preflight::{FileFacts, ModelFacts, PreflightReport};

use crate::parse::parse;
use crate::record::{RunRecord, WorkerIdentity};
use crate::validate::{Environment, ValidRun, check_preflight, validate};

/// A run to simulate, as far as it is varied.
#[derive(Clone, Debug)]
pub struct FakeRun {
    /// Weight, QFT on, QPO on.
    pub generators: Vec<(i64, bool, bool)>,
    /// Whether a judge filters questions.
    pub judge: bool,
    /// Whether questions are sampled by difficulty.
    pub difficulty: bool,
    /// Pairs that the run is to accept.
    pub target: i64,
    /// Most waves.
    pub max_waves: i32,
    /// Budget of GPU-hours.
    pub gpu_hours: Option<f64>,
    /// Deadline, in seconds.
    pub deadline_seconds: Option<i64>,
    /// Whether the run is suspended.
    pub suspend: bool,
    /// Share of rows that each stage keeps.
    pub kept_percent: u64,
}

impl Default for FakeRun {
    fn default() -> Self {
        FakeRun {
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

/// Returns the valid run that `what` describes.
///
/// # Panics
/// If it is not valid.
pub fn run(what: &FakeRun) -> ValidRun {
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
metadata: {{name: fake-run}}
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
    let parsed = parse(&text).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
    validate(&parsed, Environment::Local).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
}

/// Returns the record of `run` as it is accepted.
///
/// # Panics
/// If its preflight finds something.
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
    let preflight = PreflightReport {
        models: vec![model],
        seed_questions: vec![file],
        ..PreflightReport::default()
    };
    assert_eq!(check_preflight(run, &preflight), []);
    RunRecord::new(
        run,
        preflight,
        WorkerIdentity {
            version: "1".into(),
            digest: None,
            gpu: false,
            ..WorkerIdentity::default()
        },
        0,
    )
}
