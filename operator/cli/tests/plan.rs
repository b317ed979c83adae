//! `scalequest plan` with what is known of a machine and of an earlier run: profiles, records, and what a person states.

use std::fs;
use std::path::Path;
use std::process::Command;

use scalequest_core::parse::parse;
use scalequest_core::record::{RunRecord, WorkerIdentity};
use scalequest_core::validate::{Environment, validate};
use scalequest_crds::protocol::preflight::PreflightReport;
use scalequest_crds::protocol::profile::{
    DecodeStep, ModelProfile, PROFILE_FORMAT, ProfiledModel, ServingProfile, TrainingProfile,
};
use scalequest_crds::v1alpha1::Dtype;
use scalequest_runner::record_file;
use serde_json::{Value, json};
use tempfile::TempDir;

const SPEC: &str = "
apiVersion: scalequest.dev/v1alpha1
kind: SynthesisRun
metadata: {name: tiny}
spec:
  recipe: MathSimple
  target: {examples: 16}
  models:
  - {name: small, source: {path: small-100m.gguf}}
  - {name: large, source: {path: large-1b.gguf}}
  seedQuestions:
  - {path: seeds.jsonl}
  generators:
  - {name: g, model: small}
  responses: {model: large}
  reward: {model: large}
  workspace: {path: ws}
  output: {path: out}
";

struct Desk(TempDir);

impl Desk {
    fn new() -> Desk {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("run.yaml"), SPEC).unwrap();
        fs::write(directory.path().join("small-100m.gguf"), "").unwrap();
        fs::write(
            directory.path().join("seeds.jsonl"),
            "{\"question\": \"?\"}\n".repeat(8),
        )
        .unwrap();
        Desk(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Exit code, standard output and standard error of `scalequest plan -f run.yaml` with `more`.
    fn plan(&self, more: &[&str]) -> (Option<i32>, String, String) {
        let done = Command::new(env!("CARGO_BIN_EXE_scalequest"))
            .current_dir(self.path())
            .args(["plan", "-f", "run.yaml"])
            .args(more)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (done.status.code(), text(done.stdout), text(done.stderr))
    }

    fn json(&self, more: &[&str]) -> Value {
        let (code, out, err) = self.plan(&[more, &["--output", "json"]].concat());
        assert_eq!(code, Some(0), "{err}");
        serde_json::from_str(&out).unwrap()
    }

    fn profile(&self, with_training: bool) -> String {
        let model = self.path().canonicalize().unwrap().join("small-100m.gguf");
        let training = TrainingProfile {
            load_seconds: 1.0,
            token_seconds: 0.01,
            step_seconds: 0.5,
            save_seconds: 2.0,
        };
        let steps = [(1, 0.01), (32, 0.04)];
        let profile = ModelProfile {
            format: PROFILE_FORMAT.into(),
            worker: "0.1.0".into(),
            model: ProfiledModel {
                path: model.display().to_string(),
                digest: "d".into(),
                parameters: 101_000_000,
            },
            threads: 2,
            start_seconds: 0.05,
            serving: vec![ServingProfile {
                dtype: Dtype::Bfloat16,
                load_seconds: 1.0,
                prefill_tokens_per_second: 2000.0,
                score_tokens_per_second: 2000.0,
                steps: steps
                    .map(|(rows, seconds)| DecodeStep { rows, seconds })
                    .into(),
            }],
            training: with_training.then_some(training),
        };
        profile.to_json()
    }
}

fn hours(plan: &Value, stage: &str) -> f64 {
    let stages = plan["stages"].as_array().unwrap();
    let of_stage = stages.iter().filter(|each| each["stage"] == stage);
    of_stage
        .map(|each| each["gpuHours"].as_f64().unwrap())
        .sum()
}

#[test]
fn plan_table_matches_golden_files() {
    let desk = Desk::new();
    fs::write(desk.path().join("r.json"), desk.profile(true)).unwrap();
    let table = |more: &[&str]| {
        let (code, out, err) = desk.plan(more);
        assert_eq!(code, Some(0), "{err}");
        out
    };
    insta::assert_snapshot!("plan", table(&[]));
    insta::assert_snapshot!("plan_for_device", table(&["--device", "h100"]));
    insta::assert_snapshot!("plan_with_profile", table(&["--profile", "r.json"]));
}

#[test]
fn profiles_plan_for_this_machine() {
    let desk = Desk::new();
    fs::write(desk.path().join("r.json"), desk.profile(true)).unwrap();
    let (code, out, err) = desk.plan(&["--profile", "r.json"]);
    assert_eq!(code, Some(0), "{err}");
    for words in [
        "profile of small: its own, r.json (2 threads)",
        "profile of large: that of a model of 101M parameters times",
        "measure it itself",
    ] {
        assert!(out.contains(words), "{words}:\n{out}");
    }
    assert!(!out.contains("training was not measured"), "{out}");
    let (measured, usual) = (desk.json(&["--profile", "r.json"]), desk.json(&[]));
    assert_eq!(measured["profiles"][1]["fit"], "Exact");
    assert!(measured["gpuHours"].as_f64() > Some(0.0) && measured["gpuHours"] != usual["gpuHours"]);
    fs::write(desk.path().join("s.json"), desk.profile(false)).unwrap();
    let (_, out, _) = desk.plan(&["--profile", "s.json"]);
    assert!(out.contains("training was not measured"), "{out}");
}

#[test]
fn unusable_profiles_are_named() {
    let desk = Desk::new();
    let whole = desk.profile(true);
    fs::write(desk.path().join("half.json"), &whole[..whole.len() / 2]).unwrap();
    fs::write(desk.path().join("other.json"), "{\"name\": \"package\"}").unwrap();
    fs::write(desk.path().join("model.gguf"), [0xff; 70_000]).unwrap();
    let files = ["half.json", "other.json", "model.gguf", "absent.json"];
    let arguments: Vec<&str> = files.iter().flat_map(|file| ["--profile", file]).collect();
    let (code, out, err) = desk.plan(&arguments);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    for file in files {
        assert!(
            err.contains(&format!("--profile {file}: ")),
            "{file}: {err}"
        );
        assert!(
            err.contains(&format!("bench --model PATH --save {file}")),
            "{err}"
        );
    }
    for words in [
        "no JSON",
        "no field `format`",
        "larger than",
        "cannot be read",
    ] {
        assert!(err.contains(words), "{words}: {err}");
    }
}

#[test]
fn assumptions_change_the_plan() {
    let desk = Desk::new();
    let (usual, stated) = (desk.json(&[]), desk.json(&["--assume", "yield=0.1"]));
    assert_eq!(stated["yield"], json!(0.1));
    assert!(stated["questions"].as_i64() > usual["questions"].as_i64());
    let (_, out, _) = desk.plan(&["--assume", "yield=0.1", "--assume", "responseTokens=10"]);
    assert!(
        out.contains("stated by --assume: yield, responseTokens"),
        "{out}"
    );
    let (code, _, err) = desk.plan(&["--assume", "yeild=0.1"]);
    assert_eq!(code, Some(2));
    assert!(
        err.contains("--assume.yeild: ") && err.contains("did you mean yield"),
        "{err}"
    );
    let (_, help, _) = desk.plan(&["--help"]);
    assert!(
        help.contains("judgementTokens") && help.contains("--profile"),
        "{help}"
    );
}

#[test]
fn earlier_run_replaces_assumptions() {
    let desk = Desk::new();
    let run = validate(&parse(SPEC).unwrap(), Environment::Local).unwrap();
    let mut record = RunRecord::new(
        &run,
        PreflightReport::default(),
        WorkerIdentity::default(),
        1,
    );
    let stage = |stage: &str, generator: Option<&str>, counts: [i64; 4]| {
        let [rows_in, rows_out, tokens_in, tokens_out] = counts;
        json!({"stage": stage, "generator": generator, "wave": 1, "key": stage, "work": rows_in, "shardRows": 32, "seal": {
            "digest": "d", "rows": rows_out, "counts": {
                "rowsIn": rows_in, "rowsOut": rows_out, "dropped": {}, "tokensIn": tokens_in, "tokensOut": tokens_out}}})
    };
    record.stages = serde_json::from_value(json!([
        stage("Generate", Some("g"), [32, 32, 768, 921]),
        stage("Filter", None, [32, 16, 0, 0]),
        stage("Judge", None, [16, 16, 1600, 160]),
        stage("Respond", None, [16, 16, 1600, 160]),
        stage("Verify", None, [16, 4, 0, 0]),
    ]))
    .unwrap();
    record.waves = serde_json::from_value(json!([
        {"wave": 1, "firstId": 0, "questions": [32], "end": {"generated": 32, "accepted": 4}}]))
    .unwrap();
    let directory = desk.path().join("ws/runs/tiny");
    fs::create_dir_all(&directory).unwrap();
    record_file::save(&directory, &record).unwrap();

    let plan = desk.json(&[]);
    assert_eq!(plan["yield"], json!(0.125));
    assert_eq!(plan["waves"][0], json!(32));
    let respond = |plan: &Value| {
        plan["stages"]
            .as_array()
            .unwrap()
            .iter()
            .find(|each| each["stage"] == "Respond")
            .unwrap()
            .clone()
    };
    let (rows, made) = (
        respond(&plan)["rows"].as_f64(),
        respond(&plan)["decodeTokens"].as_f64(),
    );
    assert!(
        (made.unwrap() / rows.unwrap() - 10.0).abs() < 1e-9,
        "{plan}"
    );
    let (_, out, _) = desk.plan(&[]);
    assert!(
        out.contains("1 of 1 waves over, 4 of 32 questions accepted"),
        "{out}"
    );
    let stated = desk.json(&["--assume", "verified=0.5"]);
    assert_eq!(stated["yield"], json!(0.25), "what is stated goes first");

    let other = SPEC.replace("recipe: MathSimple", "recipe: MathSimple\n  seed: 7");
    fs::write(desk.path().join("run.yaml"), other).unwrap();
    let (code, out, _) = desk.plan(&[]);
    assert_eq!(code, Some(0));
    assert!(
        out.contains("is of another spec and not used: spec.seed"),
        "{out}"
    );
    assert!(hours(&desk.json(&[]), "Respond") > 0.0);
}
