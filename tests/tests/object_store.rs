//! A run whose workspace and output are in a real S3 store on loopback makes the bytes of a run in directories, even where
//! the store dies and comes back, and runner and workers are killed meanwhile.

use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use scalequest_tests::harness::dataset::published;
use scalequest_tests::harness::object_server::{ObjectServer, find_program};
use scalequest_tests::harness::processes::{signal, wait_until, workers_below};
use scalequest_tests::harness::{FinishedRun, MicroRun, Workbench};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(240);

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

fn in_directories() -> MicroRun {
    MicroRun::full("stored").set("/spec/target/examples", 8)
}

fn in_a_store() -> MicroRun {
    in_directories()
        .set("/spec/workspace", json!({"uri": "s3://scratch/workspace"}))
        .set("/spec/output", json!({"uri": "s3://datasets/stored"}))
}

/// Starts the run with the store's credentials and a state directory of its own.
fn start(bench: &Workbench, server: &ObjectServer) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(bench.path().join("run.log"))
        .expect("a log");
    let copy = log.try_clone().expect("a second handle");
    let mut command = bench.command(&["run", "-f", "run.yaml"]);
    command
        .envs(server.environment())
        .env("XDG_STATE_HOME", bench.path().join("state"));
    command
        .stdout(log)
        .stderr(copy)
        .spawn()
        .expect("scalequest starts")
}

#[track_caller]
fn ends_well(bench: &Workbench, mut runner: Child) {
    let status = wait_until("the end of the run", PATIENCE, || {
        runner.try_wait().expect("a child")
    });
    let log = std::fs::read_to_string(bench.path().join("run.log")).expect("a log");
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn a_run_in_an_object_store_makes_the_bytes_of_a_run_in_directories() {
    let Some(program) = server_program() else {
        return;
    };
    let whole = Workbench::new();
    in_directories().write(&whole);
    whole.run().exits_with(0);
    let whole = FinishedRun::read(whole.path(), "stored").dataset();

    let quiet = Workbench::new();
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
    let troubled = Workbench::new();
    let mut server = ObjectServer::start(
        &program,
        &troubled.path().join("server"),
        &["scratch", "datasets"],
    );
    in_a_store().write(&troubled);
    let mut runner = start(&troubled, &server);
    for stage in ["qft", "label", "generate"] {
        wait_until(stage, PATIENCE, || {
            workers_below(troubled.path()).into_iter().find(|worker| {
                worker
                    .arguments
                    .iter()
                    .any(|a| a.contains(&format!("/{stage}-")))
            })
        });
        server.restart(Duration::from_millis(1500));
    }
    wait_until("respond", PATIENCE, || {
        workers_below(troubled.path())
            .into_iter()
            .find(|worker| worker.arguments.iter().any(|a| a.contains("/respond-")))
    });
    signal(runner.id(), "KILL");
    let _ = runner.wait();
    runner = start(&troubled, &server);
    ends_well(&troubled, runner);
    published(&server.bucket("datasets").join("stored")).is_the_same_as(&whole);
}

#[test]
fn a_store_without_its_bucket_or_credentials_is_refused_before_anything_starts() {
    let Some(program) = server_program() else {
        return;
    };
    let bench = Workbench::new();
    let server = ObjectServer::start(&program, &bench.path().join("server"), &["scratch"]);
    in_a_store().write(&bench);
    let refused = |change: &[(&str, &str)]| {
        let mut command = bench.command(&["run", "-f", "run.yaml"]);
        command
            .envs(server.environment())
            .env("XDG_STATE_HOME", bench.path().join("state"))
            .envs(change.iter().copied());
        let finished: scalequest_tests::harness::Finished =
            command.output().expect("scalequest starts").into();
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
    assert!(
        !bench.path().join("state").exists(),
        "something was written"
    );
}
