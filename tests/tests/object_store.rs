//! A run whose workspace and output are in a real S3 store on loopback makes the bytes of a run in directories, even where
//! the store dies and comes back, and runner and workers are killed meanwhile.

use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use scalequest_tests::harness::certificate::Certificate;
use scalequest_tests::harness::dataset::{Dataset, published};
use scalequest_tests::harness::object_server::{ObjectServer, find_program};
use scalequest_tests::harness::processes::{signal, wait_until, workers_below};
use scalequest_tests::harness::{Finished, FinishedRun, TestEnv, TinyRun};
use serde_json::json;

const TIMEOUT: Duration = Duration::from_secs(240);

fn server_program() -> Option<PathBuf> {
    let found = find_program();
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "versitygw is not installed: run `make tools`"
        );
        eprintln!("skipped: versitygw, a real S3 server, is not installed; `make tools` does it");
    }
    found
}

fn in_directories() -> TinyRun {
    TinyRun::full("stored").set("/spec/target/examples", 8)
}

fn in_a_store() -> TinyRun {
    in_directories()
        .set("/spec/workspace", json!({"uri": "s3://scratch/workspace"}))
        .set("/spec/output", json!({"uri": "s3://datasets/stored"}))
}

/// Starts the run with the store's credentials and a state directory of its own.
fn start(env: &TestEnv, server: &ObjectServer) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(env.path().join("run.log"))
        .expect("a log");
    let copy = log.try_clone().expect("a second handle");
    let mut command = env.command(&["run", "-f", "run.yaml"]);
    command
        .envs(server.environment())
        .env("XDG_STATE_HOME", env.path().join("state"));
    command
        .stdout(log)
        .stderr(copy)
        .spawn()
        .expect("scalequest starts")
}

/// The dataset of the run without a store.
fn made_in_directories() -> Dataset {
    let whole = TestEnv::new();
    in_directories().write(&whole);
    whole.run().exits_with(0);
    FinishedRun::read(whole.path(), "stored").dataset()
}

/// Waits until a worker of `stage` runs.
fn await_worker(env: &TestEnv, stage: &str) {
    let name = format!("/{stage}-");
    wait_until(stage, TIMEOUT, || {
        let mut workers = workers_below(env.path()).into_iter();
        workers.find(|worker| {
            worker
                .arguments
                .iter()
                .any(|argument| argument.contains(&name))
        })
    });
}

#[track_caller]
fn ends_well(env: &TestEnv, mut runner: Child) {
    let status = wait_until("the end of the run", TIMEOUT, || {
        runner.try_wait().expect("a child")
    });
    let log = std::fs::read_to_string(env.path().join("run.log")).expect("a log");
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn object_store_run_matches_directories() {
    let Some(program) = server_program() else {
        return;
    };
    let whole = made_in_directories();

    let quiet = TestEnv::new();
    let server = ObjectServer::start(
        &program,
        &quiet.path().join("server"),
        &["scratch", "datasets"],
    );
    in_a_store().write(&quiet);
    let runner = start(&quiet, &server);
    ends_well(&quiet, runner);
    published(&server.bucket("datasets").join("stored")).is_the_same_as(&whole);
    drop(server);

    // The same with a server that dies in the midst of three stages, and a runner that is killed once.
    let troubled = TestEnv::new();
    let mut server = ObjectServer::start(
        &program,
        &troubled.path().join("server"),
        &["scratch", "datasets"],
    );
    in_a_store().write(&troubled);
    let mut runner = start(&troubled, &server);
    for stage in ["qft", "label", "generate"] {
        await_worker(&troubled, stage);
        server.restart(Duration::from_millis(1500));
    }
    await_worker(&troubled, "respond");
    signal(runner.id(), "KILL");
    let _ = runner.wait();
    runner = start(&troubled, &server);
    ends_well(&troubled, runner);
    published(&server.bucket("datasets").join("stored")).is_the_same_as(&whole);
}

#[test]
fn revoked_key_ends_no_run() {
    let Some(program) = server_program() else {
        return;
    };
    let whole = made_in_directories();

    let env = TestEnv::new();
    let root = env.path().join("server");
    let mut server = ObjectServer::start(&program, &root, &["scratch", "datasets"]);
    in_a_store().write(&env);
    for stage in ["qft", "generate", "publish"] {
        let mut runner = start(&env, &server);
        await_worker(&env, stage);
        server.revoke_key();
        let status = wait_until("the end of the run", TIMEOUT, || {
            runner.try_wait().expect("a child")
        });
        let log = std::fs::read_to_string(env.path().join("run.log")).expect("a log");
        assert_eq!(status.code(), Some(1), "{stage}: {log}");
        let last = log.lines().rev().take(12).collect::<String>();
        for words in ["no permission to", "run the same command again to resume"] {
            assert!(last.contains(words), "{stage}: {words}: {log}");
        }
        server.restore_key();
    }
    let runner = start(&env, &server);
    ends_well(&env, runner);
    published(&server.bucket("datasets").join("stored")).is_the_same_as(&whole);
}

#[test]
fn missing_bucket_or_credentials_are_rejected() {
    let Some(program) = server_program() else {
        return;
    };
    let env = TestEnv::new();
    let server = ObjectServer::start(&program, &env.path().join("server"), &["scratch"]);
    in_a_store().write(&env);
    let refused = |change: &[(&str, &str)]| {
        let mut command = env.command(&["run", "-f", "run.yaml"]);
        command
            .envs(server.environment())
            .env("XDG_STATE_HOME", env.path().join("state"))
            .envs(change.iter().copied());
        let finished: Finished = command.output().expect("scalequest starts").into();
        finished.exits_with(2)
    };
    refused(&[]).says(&["spec.output.uri", "datasets"]);
    refused(&[("AWS_SECRET_ACCESS_KEY", "wrong")]).says(&["spec.workspace.uri"]);
    let asked = Instant::now();
    let reach = ["cannot reach the store", "check the endpoint"];
    refused(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:9")])
        .says(&["spec.workspace.uri", reach[0], reach[1]])
        .says(&["spec.output.uri", reach[0], reach[1]]);
    let waited = asked.elapsed();
    assert!(
        waited < Duration::from_secs(30),
        "a person waits {waited:?}"
    );
    assert!(!env.path().join("state").exists(), "something was written");
}

#[test]
fn https_store_needs_its_authority() {
    let Some(program) = server_program() else {
        return;
    };
    let env = TestEnv::new();
    let tls = Certificate::create(&env.path().join("tls"));
    let root = env.path().join("server");
    let server = ObjectServer::start_https(&program, &root, &["scratch"], tls.clone());
    in_a_store().write(&env);
    let refused = |trusted: &[(&str, &str)]| {
        let mut command = env.command(&["run", "-f", "run.yaml"]);
        command
            .envs(server.environment())
            .env_remove("AWS_ALLOW_HTTP")
            .env("XDG_STATE_HOME", env.path().join("state"))
            .envs(trusted.iter().copied());
        let finished: Finished = command.output().expect("scalequest starts").into();
        finished.exits_with(2)
    };
    refused(&[]).says(&["spec.workspace.uri", "cannot reach the store"]);
    // With the authority both URIs are reached, and one of their buckets is not there.
    let authority = tls.authority.display().to_string();
    let reached = refused(&[("SSL_CERT_FILE", &authority)]).says(&["spec.output.uri", "datasets"]);
    assert!(!reached.stderr.contains("spec.workspace.uri"));
}
