//! Tests of reading a run: every error with its path, all at once; no input makes the program panic.

use super::*;
use crate::validate::{Environment, validate};

const RUN: &str = r#"apiVersion: scalequest.dev/v1alpha1
kind: SynthesisRun
metadata: {name: math}
spec:
  recipe: Math
  seed: 42
  target: {examples: 100, maxWaves: 8}
  budget: {gpuHours: 12.5, cost: "800", pricePerGpuHour: "1.30"}
  models:
  - name: qwen
    source: {path: models/qwen}
  - name: judge
    source: {path: models/judge.gguf}
    engine: {type: Candle}
  seedQuestions:
  - {path: seeds.jsonl, answerField: answer}
  generators:
  - name: g
    model: qwen
    weight: 60
    qft: {epochs: 1, learningRate: 2e-5, tuning: Lora}
    qpo: {pairs: 100, rewriter: judge, beta: 0.1}
    sampling: {temperature: 1, topP: 0.99}
  filters:
    language: {keep: [en]}
    contamination: {benchmarks: [{path: test.jsonl, questionField: problem}]}
    duplicates: {}
    solvability: {model: judge}
    difficulty: {base: qwen, solver: judge, generators: [g]}
  responses: {model: judge, samples: 3, sampling: {temperature: 0.7}}
  verification: {agreement: {atLeast: 2}}
  workspace: {path: work}
  output: {path: out}
  pods:
  - {name: inference, stages: [Generate, Judge], resources: {limits: {nvidia.com/gpu: 1, memory: 16Gi}}}
"#;

fn errors(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(run) => match validate(&run, Environment::Local) {
            Ok(_) => vec![],
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        },
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn valid_run_parses() {
    assert_eq!(errors(RUN), Vec::<String>::new());
    let run = parse(RUN).unwrap();
    assert_eq!(
        run.spec.generators[0].qft.as_ref().unwrap().learning_rate,
        Some(2e-5)
    );
}

#[test]
fn parse_errors_name_paths() {
    let cases = [
        (
            "generators:\n",
            "genrators:\n",
            "spec.genrators: is an unknown field; did you mean generators",
        ),
        (
            "maxWaves: 8",
            "maxwaves: 8",
            "spec.target.maxwaves: is an unknown field; did you mean maxWaves",
        ),
        (
            "seed: 42",
            "seed: many",
            "spec.seed: is the text \"many\", not a whole number",
        ),
        (
            "seed: 42",
            "seed: \"42\"",
            "spec.seed: is the text \"42\", not a whole number: remove the quotes",
        ),
        (
            "seed: 42",
            "seed: 1.5",
            "spec.seed: is the number 1.5, not a whole number",
        ),
        (
            "seed: 42",
            "seed: -1",
            "spec.seed: is -1, it must be at least 0",
        ),
        (
            "cost: \"800\"",
            "cost: 800",
            "spec.budget.cost: is the number 800, not a text: put it in quotes",
        ),
        (
            "cost: \"800\"",
            "cost: \"8OO\"",
            "spec.budget.cost: \"8OO\" is no decimal number",
        ),
        (
            "recipe: Math",
            "recipe: Maths",
            "spec.recipe: \"Maths\" is none of Math, MathSimple, Code, LongCot; did you mean Math",
        ),
        (
            "examples: 100",
            "examples: 0",
            "spec.target.examples: is 0, it must be at least 1",
        ),
        (
            "temperature: 0.7",
            "temperature: 7",
            "spec.responses.sampling.temperature: is 7, it must be at least 0 and at most 2",
        ),
        (
            "models:\n",
            "models: {}\n  x:\n",
            "spec.models: is a mapping of 0, not a list",
        ),
        ("filters:\n", "filters: [\n", "line"),
        (
            "duplicates: {}",
            "duplicates:",
            "spec.filters.duplicates: is empty: write {} for its defaults, or remove it",
        ),
        (
            "name: math",
            "name: Math_1",
            "metadata.name: `Math_1` is no name",
        ),
        (
            "metadata: {name: math}",
            "metadata: {nmae: math}",
            "metadata.nmae: is no field of metadata; did you mean name",
        ),
        (
            "kind: SynthesisRun",
            "kind: Job",
            "kind: is the text \"Job\", not SynthesisRun",
        ),
        (
            "apiVersion: scalequest.dev/v1alpha1\n",
            "",
            "apiVersion: is missing: write apiVersion: scalequest.dev/v1alpha1",
        ),
        ("  recipe: Math\n", "", "spec.recipe: is missing"),
        ("seed: 42", "seed: 42\n  seed: 43", "line 7"),
        (
            "source: {path: models/qwen}",
            "source: {hub: {repo: Qwen/x, revision: main}}",
            "spec.models[0].source.hub.revision",
        ),
        (
            "stages: [Generate, Judge]",
            "stages: [Generate, Judgee]",
            "spec.pods[0].stages[1]: \"Judgee\" is none of",
        ),
    ];
    for (from, to, expected) in cases {
        assert!(RUN.contains(from), "{from}");
        let found = errors(&RUN.replacen(from, to, 1));
        assert!(
            found.iter().any(|error| error.contains(expected)),
            "{to}: {found:#?}"
        );
    }
}

#[test]
fn other_files_are_rejected() {
    for (text, expected) in [
        ("", "(document): is empty"),
        ("# nothing\n", "(document): is empty"),
        ("null\n", "(document): is empty"),
        (
            "just words",
            "is the text \"just words\", not a SynthesisRun",
        ),
        ("[1, 2]", "is a list of 2, not a SynthesisRun"),
        ("a: b\n c: [", "line"),
        ("\u{0}\u{1}", ""),
    ] {
        let found = errors(text);
        assert!(
            !found.is_empty() && found[0].contains(expected),
            "{text:?}: {found:?}"
        );
        assert!(found.iter().all(|error| !error.contains('\n')), "{found:?}");
    }
    assert!(errors(&format!("{RUN}---\n{RUN}"))[0].contains("holds 2 documents"));
    assert!(errors(&"x".repeat(MAX_BYTES + 1))[0].contains("is this the right file"));
}

#[test]
fn all_errors_are_reported() {
    let text = RUN
        .replace("seed: 42", "sede: 42")
        .replace("examples: 100", "examples: none")
        .replace("path: work", "pth: work")
        .replace("samples: 3", "samples: 0");
    let found = errors(&text);
    assert_eq!(found.len(), 4, "{found:#?}");
}
