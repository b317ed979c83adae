//! The program itself: its exit codes, its reports, its inspections.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::fixture::{Fixture, generate, worker};

#[test]
fn binary_exit_codes_follow_the_contract() {
    let fixture = Fixture::new();
    let (task, report) = (fixture.path("task.json"), fixture.path("report.json"));
    let (task_file, report_file) = (
        task.to_str().expect("a path"),
        report.to_str().expect("a path"),
    );
    let run = |words: &[&str]| {
        worker(
            &[
                &["run", "--task", task_file, "--report", report_file],
                words,
            ]
            .concat(),
        )
    };

    let (code, _, run_report) = run(&["--shard", "0"]);
    let message = run_report.expect("a report")["outcome"]["failed"]["message"].to_string();
    assert!(
        code == 64 && message.contains("cannot be read"),
        "{code} {message}"
    );

    let good = generate(&fixture, 6);
    let mut other = serde_json::to_value(&good).expect("json");
    other["version"] = 99.into();
    std::fs::write(&task, other.to_string()).expect("a task");
    let (code, _, run_report) = run(&["--shard", "0"]);
    let message = run_report.expect("a report")["outcome"]["failed"]["message"].to_string();
    assert!(
        code == 64 && message.contains("version 99"),
        "{code} {message}"
    );

    std::fs::write(&task, serde_json::to_string(&good).expect("json")).expect("a task");
    // The end of standard input is checked between steps, so a quick shard may be done before.
    let (code, _, run_report) = run(&["--shard", "0", "--stop-on-stdin-eof"]);
    let outcome = run_report.expect("a report")["outcome"].clone();
    assert!(
        code == 75 && outcome == "stopped" || code == 0 && outcome["done"]["reused"] == false,
        "{code} {outcome}"
    );

    let (code, progress, run_report) = run(&["--shard", "0"]);
    assert_eq!(code, 0, "{run_report:?}");
    assert!(
        progress.lines().all(|line| serde_json::from_str::<
            scalequest_crds::protocol::progress::Progress,
        >(line)
        .is_ok()),
        "{progress}"
    );
    let (code, _, run_report) = worker(&["seal", "--task", task_file, "--report", report_file]);
    assert!(code == 0 && run_report.expect("a report")["outcome"]["sealed"]["rows"].is_object());
    assert_eq!(worker(&["run", "--nonsense"]).0, 64);
    assert_eq!(worker(&["--help"]).0, 0);
}

/// The worker waits for its task on a pipe while the test reads its environment.
#[test]
fn worker_sets_its_environment_defaults() {
    const SETTINGS: [&str; 2] = ["MIMALLOC_PURGE_DELAY", "CANDLE_NUM_THREADS"];
    for (own, expected) in [(None, ["-1", "1"]), (Some("7"), ["-1", "7"])] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scalequest-worker"));
        for name in SETTINGS {
            command.env_remove(name);
        }
        if let Some(value) = own {
            command.env(SETTINGS[1], value);
        }
        let mut worker = command
            .args(["run", "--shard", "0", "--task", "/dev/stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        let wanted: Vec<String> = SETTINGS
            .iter()
            .zip(expected)
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let begun = Instant::now();
        loop {
            let file = format!("/proc/{}/environ", worker.id());
            let environment = std::fs::read_to_string(file).expect("an environment");
            if wanted
                .iter()
                .all(|setting| environment.split('\0').any(|found| found == setting))
            {
                break;
            }
            let waited = begun.elapsed() > Duration::from_secs(60);
            assert!(!waited, "no {wanted:?} in {environment:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(worker.stdin.take());
        assert_eq!(worker.wait().expect("an end").code(), Some(64));
    }
}

fn inspected(
    fixture: &Fixture,
    edit: impl FnOnce(&mut serde_json::Value),
) -> (Vec<String>, serde_json::Value) {
    let mut run = serde_json::json!({
        "apiVersion": "scalequest.dev/v1alpha1", "kind": "SynthesisRun", "metadata": {"name": "t"},
        "spec": {
            "recipe": "MathSimple", "target": {"examples": 1},
            "models": [{"name": "m", "source": {"path": fixture.path("model")}}],
            "seedQuestions": [{"path": fixture.path("seeds.jsonl"), "answerField": "answer"}],
            "generators": [{"name": "g", "model": "m"}],
            "responses": {"model": "m"}, "reward": {"model": "m"},
            "workspace": {"path": fixture.path("workspace")}, "output": {"path": fixture.path("output")},
        }
    });
    edit(&mut run["spec"]);
    let file = fixture.path("run.json");
    std::fs::write(&file, run.to_string()).expect("a spec");
    let (code, found, _) = worker(&["preflight", "--spec", file.to_str().expect("a path")]);
    assert_eq!(code, 0);
    let found: serde_json::Value = serde_json::from_str(&found).expect("an inspection");
    let of = |error: &serde_json::Value| {
        format!(
            "{}: {}",
            error["field"].as_str().unwrap_or(""),
            error["message"].as_str().unwrap_or("")
        )
    };
    (
        found["errors"]
            .as_array()
            .expect("errors")
            .iter()
            .map(of)
            .collect(),
        found,
    )
}

#[test]
fn preflight_reports_facts() {
    let fixture = Fixture::new();
    let (errors, found) = inspected(&fixture, |_| {});
    assert_eq!(errors, Vec::<String>::new());
    let model = &found["models"][0];
    assert_eq!(
        (
            model["architecture"].as_str(),
            model["hasChatTemplate"].as_bool()
        ),
        (Some("qwen2"), Some(true))
    );
    assert_eq!(
        model["digest"].as_str(),
        Some(fixture.model("model").digest.as_str())
    );
    assert!(model["servingBytes"].as_i64() > model["parameters"].as_i64().map(|n| 2 * n));
    assert!(model["trainingBytes"].as_i64() > model["parameters"].as_i64().map(|n| 16 * n));
    assert_eq!(
        (
            found["seedQuestions"][0]["rows"].as_i64(),
            found["seedQuestions"][0]["withAnswers"].as_i64()
        ),
        (Some(12), Some(12))
    );
}

#[test]
fn preflight_reports_all_errors() {
    let fixture = Fixture::new();
    let weights = fixture.path("model/model.safetensors");
    let whole = std::fs::read(&weights).expect("weights");
    for (name, keep) in [("cut", whole.len() - 100), ("untokened", whole.len())] {
        fixture.write_model(name, 256);
        std::fs::write(fixture.path(name).join("model.safetensors"), &whole[..keep])
            .expect("weights");
    }
    std::fs::remove_file(fixture.path("untokened/tokenizer.json")).expect("removed");
    fixture.write_model("mute", 256);
    let companion = fixture.path("mute/tokenizer_config.json");
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&companion).expect("a file")).expect("json");
    config
        .as_object_mut()
        .expect("an object")
        .remove("chat_template");
    std::fs::write(&companion, config.to_string()).expect("written");
    let _ = std::fs::remove_file(fixture.path("mute/chat_template.jinja"));
    std::fs::write(
        fixture.path("bad.jsonl"),
        "{\"question\": \"q\"}\nnot json\n",
    )
    .expect("written");
    let (errors, _) = inspected(&fixture, |spec| {
        let model =
            |name: &str| serde_json::json!({"name": name, "source": {"path": fixture.path(name)}});
        spec["models"] = ["nowhere", "cut", "untokened", "mute"]
            .map(model)
            .to_vec()
            .into();
        spec["models"]
            .as_array_mut()
            .expect("models")
            .push(serde_json::json!({"name": "far", "source": {"uri": "ftp://a/b"}}));
        spec["generators"] = serde_json::json!([{"name": "g", "model": "mute"}]);
        spec["responses"]["model"] = "mute".into();
        spec["seedQuestions"][0]["path"] = fixture.path("bad.jsonl").display().to_string().into();
    });
    let expected = [
        ("spec.models[0].source.path", "there is no file or folder"),
        ("spec.models[1].source.path", "tensor `"),
        ("spec.models[2].source.path", "tokenizer.json is missing"),
        ("spec.models[3].source.path", "is a generator"),
        ("spec.models[4].source.uri", "s3://, gs:// and az:// URIs"),
        ("spec.seedQuestions[0].path", "line 2"),
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, (field, words)) in errors.iter().zip(expected) {
        assert!(
            error.starts_with(&format!("{field}: ")) && error.contains(words),
            "{error}"
        );
    }
}
