//! Runs whose models come from a hub or an object store make the bytes of a run whose model lies in a folder, however the fetch went.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use scalequest_tests::harness::dataset::{Dataset, files_below, published};
use scalequest_tests::harness::hub_server::{Fault, HubServer};
use scalequest_tests::harness::object_server::{ObjectServer, find_program};
use scalequest_tests::harness::processes::{signal, wait_until};
use scalequest_tests::harness::tiny_run::tiny_models;
use scalequest_tests::harness::{Finished, TestEnv, TinyRun};
use scalequest_worker::storage::store::{Access, Store};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(240);

const CHAT: &str = "org/chat";

const WEIGHTS: &str = "model.safetensors";

/// A small run whose generator is trained and whose chat model has this source, written to a test environment.
fn written(source: Value) -> (TestEnv, TinyRun) {
    let env = TestEnv::new();
    let qft = json!({"epochs": 1, "learningRate": 2.0e-4, "maxLength": 64, "batchSize": 1, "tuning": "Full"});
    let run = TinyRun::small("fetched")
        .set("/spec/generators/0/qft", qft)
        .set("/spec/target/examples", 4)
        .set("/spec/models/0/source", source);
    run.write(&env);
    (env, run)
}

fn run(env: &TestEnv, variables: &[(&str, String)]) -> Finished {
    let mut command = env.command(&["run", "-f", "run.yaml"]);
    command.envs(variables.iter().map(|(name, value)| (*name, value)));
    command.output().expect("scalequest starts").into()
}

/// The dataset of a run whose model lies in a folder.
fn reference() -> Dataset {
    let (env, _) = written(json!({"path": tiny_models().chat}));
    env.run().exits_with(0);
    published(&env.path().join("dataset"))
}

#[track_caller]
fn same_data(made: &Path, reference: &Dataset) {
    let made = published(made);
    assert_eq!(made.parquet, reference.parquet, "the Parquet files differ");
    assert_eq!(made.manifest["digest"], reference.manifest["digest"]);
}

#[test]
fn hub_model_matches_folder_and_resumes() {
    let reference = reference();
    let hub = HubServer::start(&[(CHAT, &tiny_models().chat)]);
    let (env, _) = written(HubServer::source(CHAT));
    let endpoint = [("HF_ENDPOINT", hub.endpoint())];

    // Validating a spec fetches nothing.
    let mut validate = env.command(&["validate", "-f", "run.yaml"]);
    validate.envs(endpoint.iter().map(|(name, value)| (*name, value)));
    let validated: Finished = validate.output().expect("scalequest starts").into();
    validated
        .exits_with(0)
        .says(&["spec.models[0].source.hub", "not cached yet", "MiB"]);
    assert!(hub.sent().is_empty());

    // Ctrl-C while the model is fetched.
    hub.next(WEIGHTS, &[Fault::Stalls(1_000_000)]);
    let mut command = env.command(&["run", "-f", "run.yaml"]);
    command.envs(endpoint.iter().map(|(name, value)| (*name, value)));
    let runner = command
        .stderr(Stdio::piped())
        .spawn()
        .expect("scalequest starts");
    wait_until("the model's beginning", LONG, || {
        let folders = std::fs::read_dir(env.path().join("cache/models")).ok()?;
        let mut files = folders
            .flatten()
            .map(|folder| folder.path().join(format!("{WEIGHTS}.partial")));
        files.find(|file| std::fs::metadata(file).is_ok_and(|found| found.len() == 1_000_000))
    });
    signal(runner.id(), "INT");
    let output = runner.wait_with_output().expect("an end");
    let interrupted = Finished::from(output).exits_with(130);
    interrupted.says(&[
        "interrupted before anything was started",
        "run the same command again to resume",
    ]);
    assert!(!env.path().join("workspace").exists());

    run(&env, &endpoint)
        .exits_with(0)
        .says(&["before the run: fetch model `chat`, MiB"]);
    assert_eq!(hub.ranges(WEIGHTS), [0, 1_000_000]);
    same_data(&env.path().join("dataset"), &reference);
    let card = std::fs::read_to_string(env.path().join("dataset/README.md")).expect("a card");
    assert!(card.contains(CHAT), "the card names the repository");

    // With the hub gone, the run is looked at again, and what was lost of it is made again.
    drop(hub);
    std::fs::remove_dir_all(env.path().join("workspace")).unwrap();
    std::fs::remove_dir_all(env.path().join("dataset")).unwrap();
    run(&env, &endpoint).exits_with(0);
    same_data(&env.path().join("dataset"), &reference);
}

/// The task of the run's responses, under another key, so that nothing of it is there.
fn task_under_another_key(env: &TestEnv) -> Value {
    let tasks = std::fs::read_dir(env.path().join("workspace/runs/fetched/tasks")).expect("tasks");
    let mut tasks = tasks
        .flatten()
        .filter_map(|task| serde_json::from_slice::<Value>(&std::fs::read(task.path()).ok()?).ok());
    let mut task = tasks
        .find(|task| task["stage"] == "Respond")
        .expect("a task");
    task["key"] = "a".repeat(64).into();
    task
}

/// Does a task by hand: the worker's exit code, and what it said.
fn work(env: &TestEnv, task: &Value, variables: &[(&str, String)]) -> Finished {
    env.write("task.json", task.to_string());
    let mut command = std::process::Command::new(scalequest_tests::harness::binaries::binary(
        "scalequest-worker",
    ));
    command
        .args(["run", "--task", "task.json", "--shard", "0"])
        .current_dir(env.path())
        .env("SCALEQUEST_CACHE", env.path().join("cache"))
        .envs(variables.iter().map(|(name, value)| (*name, value)));
    command.output().expect("the worker starts").into()
}

#[test]
fn stage_fetches_what_cache_lacks() {
    let hub = HubServer::start(&[(CHAT, &tiny_models().chat)]);
    let (env, _) = written(HubServer::source(CHAT));
    let endpoint = [("HF_ENDPOINT", hub.endpoint())];
    run(&env, &endpoint).exits_with(0);
    let weights = hub.sent()[WEIGHTS];
    let task = task_under_another_key(&env);
    assert_eq!(
        task["params"]["respond"]["model"]["location"]["hub"]["repo"],
        CHAT
    );
    let forget = || std::fs::remove_dir_all(env.path().join("cache")).expect("a cache");

    forget();
    hub.always(WEIGHTS, Some(Fault::Gone));
    let soon = [
        endpoint[0].clone(),
        ("SCALEQUEST_HUB_RETRY_TIMEOUT_SECONDS", "1".into()),
    ];
    // What is not there may be put back.
    work(&env, &task, &soon)
        .exits_with(69)
        .says(&["model `chat`", "`model.safetensors` is listed but missing"]);
    hub.always(WEIGHTS, Some(Fault::Broken));
    // It counts against no shard: no model is there for any of them.
    work(&env, &task, &soon)
        .exits_with(69)
        .says(&["model `chat`", "status 500"]);
    hub.always(WEIGHTS, None);
    let mut other = task.clone();
    other["params"]["respond"]["model"]["digest"] = "b".repeat(64).into();
    work(&env, &other, &endpoint)
        .exits_with(64)
        .says(&["hf://org/chat@", "changed since the run was accepted"]);
    assert_eq!(hub.sent()[WEIGHTS], 2 * weights);

    drop(hub);
    work(&env, &task, &endpoint).exits_with(0);
}

#[test]
fn unavailable_model_is_rejected_first() {
    let hub = HubServer::start(&[(CHAT, &tiny_models().chat)]);
    hub.gate("hf_right");
    let (env, of_run) = written(HubServer::source(CHAT));
    let home = env.path().display().to_string();
    let endpoint = [("HF_ENDPOINT", hub.endpoint()), ("HOME", home)];
    run(&env, &endpoint)
        .exits_with(2)
        .says(&["spec.models[0].source.hub", "is gated", "HF_TOKEN"]);
    // Something else is wrong too: both are said, and nothing is fetched.
    let token = ("HF_TOKEN", "hf_right".to_owned());
    of_run
        .set("/spec/seedQuestions/0/path", "nowhere.jsonl")
        .write(&env);
    let with_token = [endpoint[0].clone(), endpoint[1].clone(), token];
    run(&env, &with_token)
        .exits_with(2)
        .says(&["spec.seedQuestions[0].path", "nowhere.jsonl"]);
    assert!(hub.sent().is_empty() && !env.path().join("workspace").exists());
}

#[test]
fn object_store_model_matches_folder() {
    let Some(program) = find_program() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "versitygw is not installed: run `make tools`"
        );
        eprintln!("skipped: versitygw, a real S3 server, is not installed; `make tools` does it");
        return;
    };
    let reference = reference();
    let (env, of_run) = written(json!({"uri": "s3://models/tiny/chat/"}));
    let server = ObjectServer::start(&program, &env.path().join("server"), &["models"]);
    let refused = run(&env, &server.environment()).exits_with(2);
    refused.says(&["spec.models[0].source.uri", "has no files"]);
    let variables = server
        .environment()
        .map(|(name, value)| (name.to_owned(), value));
    let access = Access {
        variables: variables.into(),
        ..Access::from_env()
    };
    let store = Store::open_with("s3://models/tiny/chat", &access).expect("a store");
    for entry in std::fs::read_dir(tiny_models().chat)
        .expect("a model")
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        store.put(&name, entry.path()).expect("an object");
    }
    store
        .put("pytorch_model.bin", b"pickle".to_vec())
        .expect("an object");
    run(&env, &server.environment()).exits_with(0);
    same_data(&env.path().join("dataset"), &reference);
    let kept = files_below(&env.path().join("cache"));
    assert!(kept.iter().any(|file| file.ends_with(WEIGHTS)), "{kept:?}");
    assert!(!kept.iter().any(|file| file.ends_with(".bin")), "{kept:?}");

    // Another file of the same size at the same place is another model, and the run says so.
    let config = store.get("generation_config.json").expect("an object");
    let other: Vec<u8> = config
        .iter()
        .map(|byte| if *byte == b' ' { b'\t' } else { *byte })
        .collect();
    let more = of_run.set("/spec/target/examples", 12);
    more.write(&env);
    if other != config {
        store
            .put("generation_config.json", other)
            .expect("an object");
        run(&env, &server.environment())
            .exits_with(2)
            .says(&["spec.models[0]", "has changed since the run was accepted"]);
        store
            .put("generation_config.json", config)
            .expect("an object");
    }
    // It is as it was. That it cannot be asked any more is no reason to stop.
    run(&env, &server.environment()).exits_with(0);
    drop(server);
    more.set("/spec/target/examples", 16).write(&env);
    let gone = [("AWS_ENDPOINT_URL", "http://127.0.0.1:9".to_owned())];
    let variables: Vec<_> = gone
        .into_iter()
        .chain([
            ("AWS_REGION", "x".to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", "x".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "x".to_owned()),
        ])
        .collect();
    run(&env, &variables).exits_with(0);
}
