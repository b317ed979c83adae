//! Probes of every stage of a run: all succeed while the stages can run, and leave nothing behind. On a read-only and on a full file
//! system, and with a revoked key or without a bucket, each fails with the cause with which its stage itself fails.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use scalequest_crds::digest::sha256_hex;
use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::protocol::report::{Outcome, StageReport};
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Stage;
use scalequest_tests::harness::binaries::binary;
use scalequest_tests::harness::dataset::files_below;
use scalequest_tests::harness::filesystem::SmallFilesystem;
use scalequest_tests::harness::object_server::{ObjectServer, find_program};
use scalequest_tests::harness::{TestEnv, TinyRun};
use serde_json::json;

const NAME: &str = "probed";

/// The environment of the workers.
type Variables = Vec<(&'static str, String)>;

/// One task of each stage of a finished run, from the folder in which the runner has written them.
fn tasks(runs: &Path) -> BTreeMap<Stage, StageTask> {
    let folder = runs.join(NAME).join("tasks");
    let read = |name: &String| {
        let text = fs::read_to_string(folder.join(name)).expect("a task");
        let task: StageTask = serde_json::from_str(&text).expect("a stage task");
        (task.id.stage, task)
    };
    let files = files_below(&folder);
    let files = files.iter().filter(|name| name.ends_with(".json"));
    let tasks: BTreeMap<_, _> = files.map(read).collect();
    assert!(tasks.len() > 10, "{:?}", tasks.keys());
    tasks
}

/// The same work under another key, so that no shard of it is committed.
fn renamed(task: &StageTask) -> StageTask {
    StageTask {
        key: sha256_hex(task.key.as_bytes()),
        ..task.clone()
    }
}

/// Runs a worker's command for `task`.
fn outcome(env: &TestEnv, variables: &Variables, command: &[&str], task: &StageTask) -> Outcome {
    let file = env.write("task.json", serde_json::to_string(task).expect("json"));
    let report = env.path().join("report.json");
    let status = Command::new(binary("scalequest-worker"))
        .args(command)
        .arg("--task")
        .arg(&file)
        .arg("--report")
        .arg(&report)
        .current_dir(env.path())
        .env("SCALEQUEST_CACHE", env.path().join("cache"))
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.is_ok_and(|status| status.code().is_some()));
    let bytes = fs::read(&report).expect("a report");
    let report: StageReport = serde_json::from_slice(&bytes).expect("a stage report");
    assert_eq!((report.stage, &report.key), (task.id.stage, &task.key));
    report.outcome
}

#[track_caller]
fn all_succeed(env: &TestEnv, variables: &Variables, tasks: &BTreeMap<Stage, StageTask>) {
    for (stage, task) in tasks {
        for task in [task, &renamed(task)] {
            let found = outcome(env, variables, &["probe"], task);
            assert_eq!(found, Outcome::Done { reused: false }, "{stage}");
        }
    }
}

/// Asserts that the probe of every stage fails with `expected`, as the stage does.
#[track_caller]
fn all_fail(
    env: &TestEnv,
    variables: &Variables,
    tasks: &BTreeMap<Stage, StageTask>,
    expected: Cause,
) {
    for (stage, task) in tasks {
        let task = renamed(task);
        let cause = |command: &[&str]| match outcome(env, variables, command, &task) {
            Outcome::Transient { cause, .. } => cause,
            other => panic!("{stage}, {command:?}: {other:?}"),
        };
        let (probed, ran) = (cause(&["probe"]), cause(&["run", "--shard", "0"]));
        assert_eq!((probed, ran), (expected, expected), "{stage}");
    }
}

fn remount(mount: &Path, option: &str) {
    let status = Command::new("mount")
        .args(["-o", &format!("remount,{option}")])
        .arg(mount)
        .status();
    assert!(status.is_ok_and(|status| status.success()), "{option}");
}

/// Writes to `file` until the disk is full.
fn fill(file: &Path) {
    let mut file = fs::File::create(file).expect("a file");
    while file.write_all(&[1; 4096]).is_ok() {}
}

#[test]
fn probes_fail_while_a_disk_refuses() {
    let env = TestEnv::new();
    let mount = env.path().join("small");
    let Some(small) = mounted(&mount, 256 << 20) else {
        return;
    };
    let run = TinyRun::full(NAME)
        .set("/spec/workspace/path", json!("small/workspace"))
        .set("/spec/output/path", json!("small/dataset"))
        .set("/spec/target/examples", json!(8));
    run.write(&env);
    env.run().exits_with(0);
    let tasks = tasks(&mount.join("workspace/runs"));
    let (variables, before) = (Variables::new(), files_below(&mount));
    all_succeed(&env, &variables, &tasks);
    assert!(files_below(&mount) == before, "a probe has left something");

    remount(&mount, "ro");
    all_fail(&env, &variables, &tasks, Cause::AccessDenied);
    remount(&mount, "rw");
    all_succeed(&env, &variables, &tasks);

    let filler = mount.join("filler");
    fill(&filler);
    all_fail(&env, &variables, &tasks, Cause::DiskFull);
    fs::remove_file(&filler).expect("removed");
    // What the stages have left there until they failed.
    let before = files_below(&mount);
    all_succeed(&env, &variables, &tasks);
    assert!(files_below(&mount) == before, "a probe has left something");
    drop(small);
    let _ = fs::remove_dir(&mount);
}

#[test]
fn probes_fail_while_a_store_refuses() {
    let Some(program) = find_program() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "versitygw is not installed: run `make tools`"
        );
        return eprintln!("skipped: versitygw is not installed; `make tools` does it");
    };
    let env = TestEnv::new();
    let buckets = ["scratch", "datasets"];
    let mut server = ObjectServer::start(&program, &env.path().join("server"), &buckets);
    let run = TinyRun::full(NAME)
        .set("/spec/target/examples", json!(8))
        .set("/spec/workspace", json!({"uri": "s3://scratch/workspace"}))
        .set("/spec/output", json!({"uri": "s3://datasets/probed"}));
    run.write(&env);
    let variables: Variables = server.environment().into_iter().collect();
    let state = env.path().join("state");
    let status = env
        .command(&["run", "-f", "run.yaml"])
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .env("XDG_STATE_HOME", &state)
        .stdout(Stdio::null())
        .status();
    assert_eq!(status.expect("it starts").code(), Some(0));
    let tasks = tasks(&runs_below(&state));
    let objects = |server: &ObjectServer| {
        buckets.map(|bucket| {
            let files = files_below(&server.bucket(bucket));
            files
                .into_iter()
                // The server's own files of uploads.
                .filter(|file| !file.starts_with(".sgwtmp"))
                .collect::<Vec<_>>()
        })
    };
    let before = objects(&server);
    all_succeed(&env, &variables, &tasks);
    assert!(objects(&server) == before, "a probe has left something");

    server.revoke_key();
    all_fail(&env, &variables, &tasks, Cause::AccessDenied);
    server.restore_key();
    all_succeed(&env, &variables, &tasks);

    let (bucket, aside) = (server.bucket("scratch"), env.path().join("aside"));
    fs::rename(&bucket, &aside).expect("renamed");
    all_fail(&env, &variables, &tasks, Cause::LocationNotFound);
    fs::rename(&aside, &bucket).expect("renamed");
    all_succeed(&env, &variables, &tasks);
    assert!(objects(&server) == before, "a probe has left something");
}

/// The folder `runs` somewhere below the state directory.
fn runs_below(state: &Path) -> PathBuf {
    let records = files_below(state);
    let record = records
        .iter()
        .find(|file| file.ends_with(&format!("{NAME}/record.json")))
        .expect("a record");
    let run = state.join(record);
    let runs = run.parent().and_then(Path::parent);
    runs.expect("a folder").to_path_buf()
}

#[test]
fn preflight_finds_a_full_disk() {
    let env = TestEnv::new();
    let mount = env.path().join("small");
    let Some(small) = mounted(&mount, 64 << 10) else {
        return;
    };
    fill(&mount.join("filler"));
    TinyRun::small(NAME)
        .set("/spec/output/path", json!("small/dataset"))
        .write(&env);
    let finished = env.run().exits_with(2);
    let finished = finished.says(&["spec.output.path", "the disk is full"]);
    assert!(!finished.stderr.contains("spec.workspace"));
    assert_eq!(files_below(&mount), ["filler"]);
    drop(small);
    let _ = fs::remove_dir(&mount);
}

/// A mounted file system of `bytes` bytes; `None` with a message if it cannot be mounted, which is a failure in CI.
fn mounted(mount: &Path, bytes: u64) -> Option<SmallFilesystem> {
    match SmallFilesystem::mount(mount, bytes) {
        Ok(small) => Some(small),
        Err(reason) => {
            assert!(
                std::env::var_os("CI").is_none(),
                "a small file system cannot be mounted: {reason}"
            );
            eprintln!("skipped: a small file system cannot be mounted ({reason}); run as root");
            None
        }
    }
}
