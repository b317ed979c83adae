//! Workers on a machine with GPUs: which one each is given. A small program stands in for `nvidia-smi`, and the real worker, called by
//! another one that notes its environment, for one that is built for GPUs; nothing computes on a GPU here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use scalequest_tests::harness::binaries::binary;
use scalequest_tests::harness::{TestEnv, TinyRun};
use serde_json::json;

const SAYS_TWO: &str = "echo '0, GPU-aaaa, 81559, 80000'; echo '1, GPU-bbbb, 24576, 20000'";

fn program(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).expect("a program");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it may be run");
}

/// `scalequest` on a machine whose `nvidia-smi` does `script`; its worker is called by one that notes what GPUs it sees.
fn scalequest(env: &TestEnv, script: &str, visible: Option<&str>, words: &[&str]) -> Output {
    let folder = env.path().join("programs");
    fs::create_dir_all(&folder).expect("a folder");
    program(&folder.join("nvidia-smi"), script);
    let notes = env.path().join("notes");
    let worker = format!(
        "[ \"$1\" = --version ] && echo 'scalequest-worker 0.1.0+cuda' && exit\n\
         echo \"$1 ${{CUDA_VISIBLE_DEVICES-unset}} $*\" >> {}\nexec {} \"$@\"",
        notes.display(),
        binary("scalequest-worker").display()
    );
    program(&folder.join("worker"), &worker);
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = env.command(words);
    command.env("PATH", format!("{}:{path}", folder.display()));
    command.env("SCALEQUEST_WORKER", folder.join("worker"));
    command.env_remove("CUDA_VISIBLE_DEVICES");
    command.envs(visible.map(|visible| ("CUDA_VISIBLE_DEVICES", visible)));
    command.output().expect("scalequest runs")
}

/// The GPUs that the workers of a stage saw.
fn seen(env: &TestEnv, stage: &str) -> Vec<String> {
    let notes = fs::read_to_string(env.path().join("notes")).unwrap_or_default();
    let of_stage = notes
        .lines()
        .filter(|line| line.starts_with("run ") && line.contains(&format!("/{stage}-")));
    of_stage
        .map(|line| line.split(' ').nth(1).unwrap_or_default().to_string())
        .collect()
}

#[test]
fn training_workers_get_one_gpu_each() {
    let env = TestEnv::new();
    TinyRun::small("gpus")
        .set("/spec/generators/0/qft", json!({"epochs": 1, "learningRate": 2.0e-4, "maxLength": 64, "batchSize": 1, "tuning": "Full"}))
        .set("/spec/target", json!({"examples": 1, "maxWaves": 1}))
        .write(&env);
    let done = scalequest(&env, SAYS_TWO, None, &["run", "-f", "run.yaml"]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(matches!(done.status.code(), Some(0 | 3)), "{said}");
    // Small models have room on the smaller GPU.
    let trained = seen(&env, "qft");
    assert!(
        !trained.is_empty() && trained.iter().all(|gpu| gpu == "GPU-bbbb"),
        "{trained:?}"
    );
    let made = seen(&env, "generate");
    assert!(
        !made.is_empty() && made.iter().all(String::is_empty),
        "{made:?}"
    );
}

#[test]
fn machine_without_nvidia_smi_is_unchanged() {
    let env = TestEnv::new();
    TinyRun::small("plain")
        .set("/spec/generators/0/qft", json!({"epochs": 1, "learningRate": 2.0e-4, "maxLength": 64, "batchSize": 1, "tuning": "Full"}))
        .set("/spec/target", json!({"examples": 1, "maxWaves": 1}))
        .write(&env);
    let done = scalequest(&env, "exit 9", Some("3"), &["run", "-f", "run.yaml"]);
    assert!(
        matches!(done.status.code(), Some(0 | 3)),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let trained = seen(&env, "qft");
    assert!(
        !trained.is_empty() && trained.iter().all(|gpu| gpu == "3"),
        "{trained:?}"
    );
}

#[test]
fn too_many_gpus_are_rejected() {
    let env = TestEnv::new();
    TinyRun::small("refused").write(&env);
    let refused = |script: &str, visible: Option<&str>, gpus: &str, words: &str| {
        let done = scalequest(
            &env,
            script,
            visible,
            &["run", "-f", "run.yaml", "--gpus", gpus],
        );
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{said}");
    };
    refused(SAYS_TWO, None, "3", "--gpus 3: 2 can be used");
    refused(
        SAYS_TWO,
        Some("1"),
        "2",
        "1 can be used (nvidia-smi finds 2, CUDA_VISIBLE_DEVICES is `1`)",
    );
    refused("echo none", None, "1", "set --gpus 0 to use none");
    assert!(!env.path().join("workspace").exists());
}
