//! Probes: they succeed for a stage that can run and leave nothing behind; for each obstacle they fail with the cause with which the
//! stage itself fails, and succeed again without it.

use std::path::Path;
use std::process::{Command, Stdio};

use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::protocol::report::{Outcome, StageReport};
use scalequest_crds::protocol::task::{ContaminationParams, ModelLocation, StageParams, StageTask};
use scalequest_worker::stages::{CancellationToken, ProgressReporter, StageError, probe};

use crate::endpoint::{MODELS, REPLY, label, serve};
use crate::fixture::{Fixture, finish, generate, run, sealed, trained, training, worker};

fn probed(task: &StageTask) -> Result<Outcome, StageError> {
    let (token, reporter) = (CancellationToken::default(), ProgressReporter::silent());
    probe(task, &token, &reporter).map(|result| result.outcome)
}

const SUCCESS: Result<Outcome, StageError> = Ok(Outcome::Done { reused: false });

fn cause<T: std::fmt::Debug>(result: Result<T, StageError>) -> Cause {
    match result {
        Err(StageError::Transient { cause, .. }) => cause,
        other => panic!("no transient error: {other:?}"),
    }
}

/// Asserts that the probe of `task` and its shard 0 fail with the same cause, and returns the cause.
#[track_caller]
fn both_fail(task: &StageTask) -> Cause {
    let (probed, ran) = (cause(probed(task)), cause(run(task, 0)));
    assert_eq!(probed, ran);
    probed
}

/// Every file and folder below `folder`.
fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        found.push(path.display().to_string());
        if path.is_dir() {
            found.extend(tree(&path));
        }
    }
    found.sort();
    found
}

fn qft(fixture: &Fixture) -> StageTask {
    let params = StageParams::Qft {
        model: fixture.model("model"),
        system_prompt: None,
        seed_questions: fixture.seeds(),
        training: training(),
    };
    fixture.task(params, &[], 12)
}

fn filter(fixture: &Fixture, generated: &StageTask) -> StageTask {
    let input = sealed(generated);
    let params = StageParams::Filter {
        languages: None,
        contamination: Some(ContaminationParams {
            ngram: 13,
            benchmarks: fixture.seeds(),
        }),
        duplicates: None,
    };
    fixture.task(params, &[&input], fixture.count(&input))
}

#[test]
fn probe_succeeds_and_leaves_nothing() {
    let fixture = Fixture::new();
    let generated = generate(&fixture, 8);
    assert_eq!(probed(&generated), SUCCESS);
    assert_eq!(tree(&fixture.path("workspace")), Vec::<String>::new());
    finish(&generated);
    let tuned = finish(&qft(&fixture));
    let mut sampled = generate(&fixture, 4);
    *sampled.params.model_mut().expect("a model") = trained(&tuned);
    let tasks = [
        generated.clone(),
        qft(&fixture),
        filter(&fixture, &generated),
        sampled,
    ];
    let before = tree(&fixture.path("workspace"));
    for task in &tasks {
        assert_eq!(probed(task), SUCCESS, "{}", task.id.stage);
    }
    assert_eq!(tree(&fixture.path("workspace")), before);
}

#[test]
fn probe_reports_like_the_stage() {
    let fixture = Fixture::new();
    let task = generate(&fixture, 4);
    let (file, report) = (fixture.path("task.json"), fixture.path("report.json"));
    std::fs::write(&file, serde_json::to_string(&task).expect("json")).expect("a task");
    let words = [
        "probe",
        "--task",
        file.to_str().expect("a path"),
        "--report",
        report.to_str().expect("a path"),
    ];
    let read = |report: Option<serde_json::Value>| -> StageReport {
        serde_json::from_value(report.expect("a report")).expect("a stage report")
    };
    let (code, _, found) = worker(&words);
    let found = read(found);
    assert_eq!(
        (code, &found.outcome),
        (0, &Outcome::Done { reused: false })
    );
    assert_eq!(
        (found.stage, found.key, found.shard),
        (task.id.stage, task.key.clone(), None)
    );
    std::fs::remove_dir_all(fixture.path("model")).expect("removed");
    let (code, _, found) = worker(&words);
    let Outcome::Transient { cause, message } = read(found).outcome else {
        panic!("another outcome");
    };
    assert_eq!((code, cause), (69, Cause::LocationNotFound));
    assert!(message.contains("model `model`"), "{message}");
    let mut invalid = task;
    invalid.workspace = "ftp://nowhere".into();
    std::fs::write(&file, serde_json::to_string(&invalid).expect("json")).expect("a task");
    let (code, _, found) = worker(&words);
    assert_eq!(code, 64, "{found:?}");
}

#[test]
fn probe_fails_while_workspace_is_not_writable() {
    let fixture = Fixture::new();
    let task = generate(&fixture, 4);
    std::fs::create_dir_all(fixture.path("workspace")).expect("a folder");
    let obstacle = fixture.path("workspace/stages");
    std::fs::write(&obstacle, "a file in the place of a folder").expect("written");
    assert_eq!(both_fail(&task), Cause::StoreUnavailable);
    std::fs::remove_file(&obstacle).expect("removed");
    assert_eq!(probed(&task), SUCCESS);
    run(&task, 0).expect("done");
}

#[test]
fn probe_fails_while_files_are_gone() {
    let fixture = Fixture::new();
    let generated = generate(&fixture, 8);
    finish(&generated);
    for (gone, task) in [
        ("seeds.jsonl", qft(&fixture)),
        ("seeds.jsonl", filter(&fixture, &generated)),
        ("model", qft(&fixture)),
        ("model/model.safetensors", generate(&fixture, 5)),
        ("model/config.json", generate(&fixture, 5)),
    ] {
        let (path, aside) = (fixture.path(gone), fixture.path("aside"));
        std::fs::rename(&path, &aside).expect("renamed");
        let probed_result = probed(&task);
        let ran = run(&task, 0);
        std::fs::rename(&aside, &path).expect("renamed");
        match ran {
            Err(StageError::Transient { cause: of_run, .. }) => {
                assert_eq!(cause(probed_result), of_run, "{gone}");
            }
            Err(StageError::Permanent(message)) => {
                assert_eq!(probed_result, Err(StageError::Permanent(message)), "{gone}");
            }
            other => panic!("{gone}: {other:?}"),
        }
        assert_eq!(probed(&task), SUCCESS, "{gone}");
    }
}

#[test]
fn corrupt_inputs_are_left_to_the_stage() {
    let fixture = Fixture::new();
    let generated = generate(&fixture, 8);
    finish(&generated);
    let filter = filter(&fixture, &generated);
    std::fs::remove_dir_all(fixture.path("workspace/stages")).expect("removed");
    assert!(matches!(
        run(&filter, 0),
        Err(StageError::InputCorrupted { .. })
    ));
    assert_eq!(probed(&filter), SUCCESS);
    // Another obstacle is still found.
    std::fs::write(fixture.path("workspace/stages"), "a file").expect("written");
    assert_eq!(cause(probed(&filter)), Cause::StoreUnavailable);
}

#[test]
fn stage_without_rows_needs_no_model() {
    let fixture = Fixture::new();
    let mut task = generate(&fixture, 0);
    task.params.model_mut().expect("a model").location = ModelLocation::Path("/nowhere".into());
    run(&task, 0).expect("done");
    assert_eq!(probed(&task), SUCCESS);
}

#[test]
fn probe_fails_while_endpoint_refuses() {
    let fixture = Fixture::new();
    for (answers, expected) in [
        (&[("", "401 Unauthorized", "{}")][..], Cause::AccessDenied),
        // The list of models is served although the account has no quota left, or may not use the model.
        (
            &[MODELS, ("chat", "402 Payment Required", "{}")][..],
            Cause::EndpointUnavailable,
        ),
        (
            &[MODELS, ("chat", "403 Forbidden", "{}")][..],
            Cause::AccessDenied,
        ),
    ] {
        let task = label(&fixture, serve(answers));
        assert_eq!(both_fail(&task), expected);
    }
    let task = label(&fixture, serve(&[MODELS, REPLY]));
    assert_eq!(probed(&task), SUCCESS);
    run(&task, 0).expect("done");
}

#[test]
fn probe_fails_while_store_refuses_credentials() {
    let fixture = Fixture::new();
    let port = serve(&[(
        "",
        "403 Forbidden",
        "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
    )]);
    let mut task = generate(&fixture, 2);
    task.workspace = "s3://bucket/workspace".into();
    let file = fixture.path("task.json");
    std::fs::write(&file, serde_json::to_string(&task).expect("json")).expect("a task");
    let outcome = |words: &[&str]| {
        let report = fixture.path("report.json");
        let status = Command::new(env!("CARGO_BIN_EXE_scalequest-worker"))
            .args(words)
            .arg("--task")
            .arg(&file)
            .arg("--report")
            .arg(&report)
            .env("AWS_ACCESS_KEY_ID", "user")
            .env("AWS_SECRET_ACCESS_KEY", "revoked")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
            .env("AWS_ALLOW_HTTP", "true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .expect("it starts");
        let bytes = std::fs::read(&report).expect("a report");
        let report: StageReport = serde_json::from_slice(&bytes).expect("a stage report");
        match report.outcome {
            Outcome::Transient { cause, .. } => (status.code(), cause),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(outcome(&["probe"]), (Some(69), Cause::AccessDenied));
    assert_eq!(outcome(&["run", "--shard", "0"]), outcome(&["probe"]));
}
