//! The real `scalequest` program, as far as it needs no worker: what it prints, what it refuses, and with which exit code.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use scalequest_core::parse::parse;
use scalequest_core::record::{RunRecord, WorkerIdentity};
use scalequest_core::validate::{Environment, validate};
use scalequest_crds::protocol::preflight::PreflightReport;
use scalequest_runner::lock::Lock;
use scalequest_runner::record_file;
use tempfile::TempDir;

const SPEC: &str = "
apiVersion: scalequest.dev/v1alpha1
kind: SynthesisRun
metadata: {name: tiny}
spec:
  recipe: MathSimple
  target: {examples: 10}
  models:
  - {name: m, source: {path: models/m.gguf}}
  seedQuestions:
  - {path: seeds.jsonl}
  generators:
  - {name: g, model: m}
  responses: {model: m}
  workspace: {path: ws}
  output: {path: out}
";

/// A directory of its own, with a spec in it.
struct Fixture(TempDir);

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Fixture {
    fn new() -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("run.yaml"), SPEC).unwrap();
        Fixture(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(self, name: &str, text: &str) -> Fixture {
        fs::write(self.path().join(name), text).unwrap();
        self
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scalequest"));
        // Any program serves as the worker here: none of these tests comes to the point of starting it.
        let own = std::env::current_exe().unwrap();
        let Output {
            status,
            stdout,
            stderr,
        } = command
            .args(arguments)
            .current_dir(self.path())
            .env("SCALEQUEST_WORKER", own)
            .output()
            .unwrap();
        Said {
            code: status.code(),
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
        }
    }

    /// Accepts the spec, as a run that was started once and stopped at once.
    fn accepted(self) -> Fixture {
        let run = validate(&parse(SPEC).unwrap(), Environment::Local).unwrap();
        let record = RunRecord::new(
            &run,
            PreflightReport::default(),
            WorkerIdentity {
                version: "1".into(),
                ..Default::default()
            },
            1,
        );
        fs::create_dir_all(self.run_directory()).unwrap();
        record_file::save(&self.run_directory(), &record).unwrap();
        self
    }

    fn run_directory(&self) -> PathBuf {
        self.path().join("ws/runs/tiny")
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Every command's help equals its reviewed golden file; `INSTA_UPDATE=always cargo test` rewrites the files.
#[test]
fn help_matches_golden_files() {
    let help = |command: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_scalequest"));
        let done = program.args(command).arg("--help").env_clear().output();
        let Output { status, stdout, .. } = done.unwrap();
        assert!(status.success());
        String::from_utf8(stdout).unwrap()
    };
    insta::assert_snapshot!("help", help(&[]));
    for command in [
        "run",
        "operator",
        "validate",
        "plan",
        "status",
        "recipes",
        "crd",
        "prune",
        "completions",
    ] {
        insta::assert_snapshot!(format!("help_{command}"), help(&[command]));
    }
}

#[test]
fn help_lists_exit_codes_and_examples() {
    let said = Fixture::new().run(&["--help"]);
    assert_eq!(said.code, Some(0));
    for word in [
        "run",
        "validate",
        "plan",
        "status",
        "recipes",
        "crd",
        "prune",
        "completions",
        "Exit codes:",
        "130",
        "Examples:",
    ] {
        assert!(
            said.out.contains(word),
            "{word} is missing in:\n{}",
            said.out
        );
    }
    let said = Fixture::new().run(&["run", "--help"]);
    // Where the lines break depends on the width of the terminal.
    let help = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in [
        "same command resumes",
        "record.json",
        "report.html",
        "manifest.json",
        "SCALEQUEST_WORKER",
        "current directory",
    ] {
        assert!(help.contains(word), "{word} is missing in:\n{}", said.out);
    }
}

#[test]
fn unknown_flags_are_invalid_input() {
    let fixture = Fixture::new();
    for arguments in [
        &["fly"][..],
        &["run"],
        &["run", "-f", "run.yaml", "--workers", "0"],
        &["run", "-f", "run.yaml", "--memory", "much"],
    ] {
        assert_eq!(fixture.run(arguments).code, Some(2), "{arguments:?}");
    }
}

#[test]
fn validate_accepts_and_writes_nothing() {
    let fixture = Fixture::new();
    let said = fixture.run(&["validate", "--spec-only", "-f", "run.yaml"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(
        said.out,
        "run `tiny` is valid; models and files were not checked\n"
    );
    assert_eq!(fixture.names(), ["run.yaml"]);
}

#[test]
fn validate_lists_all_errors() {
    let wrong = SPEC
        .replace("name: g, model: m}", "name: g, model: mm}")
        .replace("responses: {model: m}", "responses: {model: mmm}")
        .replace("{path: out}", "{path: ws}");
    let fixture = Fixture::new().write("wrong.yaml", &wrong);
    for command in ["validate", "run"] {
        let said = fixture.run(&[command, "-f", "wrong.yaml"]);
        assert_eq!(said.code, Some(2), "{command}: {}", said.err);
        for field in [
            "spec.generators[0].model",
            "spec.responses.model",
            "spec.output",
            "nothing was started",
        ] {
            assert!(
                said.err.contains(field),
                "{command}: {field} is missing in:\n{}",
                said.err
            );
        }
    }
    assert_eq!(fixture.names(), ["run.yaml", "wrong.yaml"]);
}

#[test]
fn json_errors_are_one_object() {
    let fixture =
        Fixture::new().write("wrong.yaml", &SPEC.replace("seedQuestions", "seedQuestion"));
    let said = fixture.run(&["--log-format", "json", "validate", "-f", "wrong.yaml"]);
    let value: serde_json::Value = serde_json::from_str(&said.err).unwrap();
    assert_eq!(
        (said.code, value["event"].as_str()),
        (Some(2), Some("invalid"))
    );
    assert!(
        value["errors"]
            .as_array()
            .unwrap()
            .iter()
            .any(|error| error["field"].as_str().unwrap().contains("seedQuestion")),
        "{value}"
    );
}

#[test]
fn missing_file_is_named() {
    let said = Fixture::new().run(&["validate", "-f", "gone.yaml"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.starts_with("error: gone.yaml: cannot be read"),
        "{}",
        said.err
    );
}

#[test]
fn spec_is_read_from_stdin() {
    let fixture = Fixture::new();
    let file = fs::File::open(fixture.path().join("run.yaml")).unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_scalequest"))
        .args(["validate", "--spec-only", "-f", "-"])
        .stdin(file)
        .output()
        .unwrap();
    assert!(status.status.success());
}

#[test]
fn plan_lists_stages_with_hours() {
    let fixture = Fixture::new();
    let said = fixture.run(&["plan", "-f", "run.yaml"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let order = [
        "qft", "sample", "rewrite", "qpo", "generate", "respond", "reward", "total",
    ];
    let places: Vec<_> = order
        .iter()
        .map(|stage| {
            said.out
                .find(&format!("\n{stage} "))
                .unwrap_or_else(|| panic!("{stage}: {}", said.out))
        })
        .collect();
    assert!(places.is_sorted(), "{}", said.out);
    assert!(said.out.contains("worker-hours"), "{}", said.out);
    let said = fixture.run(&[
        "plan", "-f", "run.yaml", "--output", "json", "--device", "h100",
    ]);
    let value: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let sum: f64 = value["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["gpuHours"].as_f64().unwrap())
        .sum();
    assert!(
        sum > 0.0 && (sum - value["gpuHours"].as_f64().unwrap()).abs() < 1e-9,
        "{value}"
    );
    assert_eq!(fixture.names(), ["run.yaml"]);
}

#[test]
fn unknown_device_suggests_nearest() {
    let said = Fixture::new().run(&["plan", "-f", "run.yaml", "--device", "h10"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("did you mean h100?"), "{}", said.err);
}

#[test]
fn million_examples_plan_within_second() {
    let spec = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/math.yaml");
    let started = std::time::Instant::now();
    let said = Fixture::new().run(&["plan", "-f", &spec.display().to_string()]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(
        said.out.contains("GPU-hours") && said.out.contains("rate"),
        "{}",
        said.out
    );
    assert!(
        started.elapsed().as_secs_f64() < 1.0,
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn recipes_are_listed_and_printed() {
    let fixture = Fixture::new();
    let list = fixture.run(&["recipes"]).out;
    let names: Vec<_> = list
        .lines()
        .take(4)
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(names, ["Math", "MathSimple", "Code", "LongCot"]);
    assert!(
        fixture
            .run(&["recipes", "longcot"])
            .out
            .contains("maxNewTokens")
    );
    let said = fixture.run(&["recipes", "Maht"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("did you mean"), "{}", said.err);
}

#[test]
fn crd_is_printed_as_yaml() {
    let said = Fixture::new().run(&["crd"]);
    let crd: serde_json::Value = serde_saphyr::from_str(&said.out).unwrap();
    assert_eq!(crd["kind"], "CustomResourceDefinition");
    assert_eq!(crd["metadata"]["name"], "synthesisruns.scalequest.dev");
}

#[test]
fn completions_exist_for_every_shell() {
    let fixture = Fixture::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = fixture.run(&["completions", shell]);
        assert!(
            said.code == Some(0) && said.out.contains("scalequest"),
            "{shell}"
        );
    }
}

#[test]
fn status_of_stopped_run_reads_record() {
    let fixture = Fixture::new().accepted();
    for place in ["ws", "ws/runs/tiny"] {
        let said = fixture.run(&["status", place]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert!(
            said.out.contains("accepted  0 of 10 pairs (0%)") && said.out.contains("not running"),
            "{}",
            said.out
        );
    }
    let said = fixture.run(&["status", "ws", "--output", "json"]);
    let value: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (
            &value["run"],
            &value["running"],
            &value["status"]["progress"]["target"]
        ),
        (&"tiny".into(), &false.into(), &10.into())
    );
}

#[test]
fn status_without_run_gives_advice() {
    let said = Fixture::new().run(&["status", "."]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("<workspace>/runs/<run>"), "{}", said.err);
}

#[test]
fn run_of_other_process_is_rejected() {
    let fixture = Fixture::new().accepted();
    let _held = Lock::take(&fixture.run_directory().join("lock"), "run tiny").unwrap();
    let said = fixture.run(&["run", "-f", "run.yaml"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(
        said.err
            .contains(&format!("process {}", std::process::id())),
        "{}",
        said.err
    );
    assert!(
        fixture
            .run(&["status", "ws", "--output", "json"])
            .out
            .contains("\"running\": true")
    );
}

#[test]
fn immutable_field_edit_is_rejected() {
    let fixture = Fixture::new().accepted().write(
        "other.yaml",
        &SPEC.replace("recipe: MathSimple", "recipe: MathSimple\n  seed: 7"),
    );
    let before = fs::read(fixture.run_directory().join("record.json")).unwrap();
    let said = fixture.run(&["run", "-f", "other.yaml"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("spec.seed: was `0`"), "{}", said.err);
    assert_eq!(
        fs::read(fixture.run_directory().join("record.json")).unwrap(),
        before
    );
}

#[test]
fn prune_removes_only_with_yes() {
    let fixture = Fixture::new().accepted();
    let loose = fixture
        .path()
        .join(format!("ws/stages/judge-{}", "a".repeat(64)));
    fs::create_dir_all(loose.join("objects")).unwrap();
    fs::write(loose.join("objects/x"), "12345").unwrap();
    let said = fixture.run(&["prune", "ws"]);
    assert!(
        said.code == Some(0) && said.out.contains("would remove 5 B in 1 place;"),
        "{}",
        said.out
    );
    assert!(loose.exists());
    let said = fixture.run(&["prune", "ws", "--yes"]);
    assert!(
        said.out.contains("removed 5 B") && said.out.contains("tiny"),
        "{}",
        said.out
    );
    assert!(!loose.exists() && fixture.run_directory().exists());
    assert_eq!(fixture.run(&["prune", "."]).code, Some(2));
}
