//! Stages that start a server for themselves: a trained generator, a judge and a responder on servers that die on the way, servers that never
//! come up, and none that outlives its worker.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use scalequest_crds::protocol::rows::{AnsweredRow, QuestionRow};
use scalequest_crds::v1alpha1::Stage;
use scalequest_tests::harness::binaries::binary;
use scalequest_tests::harness::processes::{signal, wait_until};
use scalequest_tests::harness::tiny_run::tiny_models;
use scalequest_tests::harness::{FinishedRun, TestEnv, TinyRun};
use serde_json::json;

const LONG: Duration = Duration::from_secs(120);

/// A run with one trained generator whose model, judge and responder are served by `command`.
fn served(command: &[&str]) -> TinyRun {
    let engine = json!({"type": "Server", "server": {"command": command}});
    TinyRun::served("served", engine)
}

/// What all workers of the run have logged.
fn logs(env: &TestEnv) -> String {
    let logs = std::fs::read_dir(env.path().join("workspace/runs/served/logs")).expect("logs");
    let texts = logs.filter_map(|log| std::fs::read_to_string(log.ok()?.path()).ok());
    texts.collect()
}

/// The program that an environment variable names, for tests of servers that are not installed everywhere.
fn program(variable: &str, how: &str) -> Option<String> {
    let program = std::env::var(variable).ok();
    if program.is_none() {
        eprintln!("skipped: {variable} does not name the program ({how})");
    }
    program
}

/// `transformers serve`, where `SCALEQUEST_TRANSFORMERS` names the program.
#[test]
fn transformers_serves_a_trained_generator() {
    let how = "pip install 'transformers[serving]'";
    let Some(program) = program("SCALEQUEST_TRANSFORMERS", how) else {
        return;
    };
    let command = [
        &program,
        "serve",
        "{model}",
        "--host",
        "127.0.0.1",
        "--port",
        "{port}",
        "--device",
        "cpu",
    ];
    let run = |run: TinyRun| {
        run.set("/spec/filters", json!({"duplicates": {}}))
            .set("/spec/responses/model", "chat")
    };
    serves_a_trained_generator(&command, "server:transformers", &[Stage::Generate], run);
}

/// vLLM's command for the tiny models; `SCALEQUEST_VLLM` names the program.
fn vllm() -> Option<Vec<String>> {
    let program = program("SCALEQUEST_VLLM", "pip install vllm, or its build for CPUs")?;
    let rest = [
        "serve",
        "{model}",
        "--host",
        "127.0.0.1",
        "--port",
        "{port}",
        "--enforce-eager",
        "--dtype",
        "float32",
    ];
    let rest = rest.map(str::to_owned);
    Some([program].into_iter().chain(rest).collect())
}

#[test]
fn vllm_serves_generator_judge_and_responder() {
    let Some(command) = vllm() else { return };
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let stages = [Stage::Generate, Stage::Judge, Stage::Respond];
    serves_a_trained_generator(&command, "server:vllm", &stages, |run| run);
}

/// vLLM's rewards beside the built-in engine's, both in 32 bits: the same conversations, so the same numbers but for the order of sums.
#[test]
fn vllm_rewards_match_the_engine() {
    let Some(command) = vllm() else { return };
    let source = json!({"path": tiny_models().reward});
    let rewards = |engine: serde_json::Value| {
        let env = TestEnv::new();
        TinyRun::rewarded("rewarded", json!({"source": source, "engine": engine})).write(&env);
        env.run().exits_with(0);
        let run = FinishedRun::read(env.path(), "rewarded");
        let rows: Vec<AnsweredRow> = run.rows(Stage::Reward, "rows");
        let responses = rows.into_iter().flat_map(|row| row.responses);
        responses
            .map(|each| each.reward.expect("a reward"))
            .collect::<Vec<f64>>()
    };
    let here = rewards(json!({"type": "Candle", "dtype": "Float32"}));
    let there = rewards(json!({"type": "Server", "server": {"command": command}}));
    assert_eq!(there.len(), here.len());
    let differences = there.iter().zip(&here).map(|(a, b)| (a - b).abs());
    let largest = differences.fold(0.0, f64::max);
    println!(
        "{} rewards, the largest difference is {largest:e}",
        here.len()
    );
    assert!(largest < 1e-4, "{largest}: {there:?} {here:?}");
}

/// The same with a server of the tests' own, whose values are the built-in engine's.
#[test]
fn server_rewards_match_the_engine() {
    let source = json!({"path": tiny_models().reward});
    // It leaves a process behind, which ends with the stage all the same.
    let directory = tempfile::TempDir::new().expect("a directory");
    let left = directory.path().join("left");
    let script = format!(
        "sleep 1000 & echo $! > {}; exec {} {{model}} {{port}}",
        left.display(),
        binary("chat-server").display()
    );
    let command = ["sh", "-c", &script];
    let rows = |model: serde_json::Value| {
        let env = TestEnv::new();
        TinyRun::rewarded("rewarded", model).write(&env);
        env.run().exits_with(0);
        let rows: Vec<AnsweredRow> =
            FinishedRun::read(env.path(), "rewarded").rows(Stage::Reward, "rows");
        rows
    };
    let here = rows(json!({"source": source}));
    let engine = json!({"type": "Server", "server": {"command": command}});
    assert_eq!(rows(json!({"source": source, "engine": engine})), here);
    let pid = std::fs::read_to_string(left).expect("a process was left");
    assert!(!Path::new(&format!("/proc/{}", pid.trim())).exists());
}

/// Runs a generator that was trained here, and what else `run` leaves to the server, on `command`: `stages` are the server's, and the questions
/// are those of a model that learnt to ask.
fn serves_a_trained_generator(
    command: &[&str],
    backend: &str,
    stages: &[Stage],
    run: impl Fn(TinyRun) -> TinyRun,
) {
    let env = TestEnv::new();
    run(served(command))
        .set("/spec/target", json!({"examples": 4, "maxWaves": 2}))
        .write(&env);
    let finished = env.run();
    assert!(
        matches!(finished.code, Some(0 | 3)),
        "{}\n{}",
        finished.stderr,
        logs(&env)
    );
    let run = FinishedRun::read(env.path(), "served");
    for stage in stages {
        let backends = run.backends(*stage);
        assert!(backends.iter().all(|each| each == &[backend]), "{stage}");
    }
    let generated: Vec<QuestionRow> = run.rows(Stage::Generate, "rows");
    for row in generated.iter().take(8) {
        println!("{}", row.question);
    }
    let different: BTreeSet<&str> = generated.iter().map(|row| row.question.as_str()).collect();
    assert!(
        different.len() > 3,
        "the questions are not drawn: {different:?}"
    );
    // A generator that learnt to ask ends its questions, and they are questions.
    let whole = generated
        .iter()
        .filter(|row| row.question.ends_with('?') || row.question.ends_with('.'));
    let (whole, all) = (
        whole.count(),
        run.stages(Stage::Generate)
            .map(|each| each.work)
            .sum::<i64>(),
    );
    assert!(
        whole as i64 * 2 > all,
        "{whole} of {all} questions are whole"
    );
}

#[test]
fn crashing_servers_are_restarted() {
    let program = binary("chat-server").display().to_string();
    let finish = |command: &[&str]| {
        let env = TestEnv::new();
        served(command).write(&env);
        env.run().exits_with(0);
        let run = FinishedRun::read(env.path(), "served");
        for stage in [Stage::Generate, Stage::Judge, Stage::Respond] {
            let backends = run.backends(stage);
            assert!(
                backends.iter().all(|each| each == &["server:chat-server"]),
                "{stage}"
            );
        }
        let trained = run.backends(Stage::Qft);
        assert!(trained.iter().all(|each| each != &["server:chat-server"]));
        (env, run)
    };
    let (_whole, undisturbed) = finish(&[&program, "{model}", "{port}"]);
    // The command is part of what a stage is addressed by: the same one, with a third argument that changes nothing.
    let (other, dying) = finish(&[&program, "{model}", "{port}", "25"]);
    assert_eq!(undisturbed.dataset().parquet, dying.dataset().parquet);
    assert!(logs(&other).contains("the model's server ended, restarting it"));
}

#[test]
fn failing_server_reports_its_command() {
    let env = TestEnv::new();
    served(&[
        "sh",
        "-c",
        "echo no such model >&2; exit 3",
        "{model}",
        "{port}",
    ])
    .write(&env);
    env.run()
        .exits_with(1)
        .says(&["ended 4 times", "exit status: 3"]);
    assert!(
        logs(&env).contains("no such model"),
        "the server's own words are in no log"
    );
    let other = TestEnv::new();
    served(&["no-such-server", "{model}", "{port}"]).write(&other);
    other
        .run()
        .exits_with(1)
        .says(&["no-such-server", "ended 4 times"]);
}

#[test]
fn servers_die_with_runner_and_worker() {
    let env = TestEnv::new();
    // As vLLM, it has a process beside the first one.
    let script = format!(
        "sleep 1000 & echo $! > {0}/child; echo $$ > {0}/pid; exec sleep 1000",
        env.path().display()
    );
    served(&["sh", "-c", &script, "{model}", "{port}"]).write(&env);
    let mut runner = env.start(&["run", "-f", "run.yaml"], "run.log");
    let pids = ["child", "pid"].map(|file| {
        wait_until("a server", LONG, || {
            let text = std::fs::read_to_string(env.path().join(file)).ok()?;
            text.trim().parse::<u32>().ok()
        })
    });
    let runs = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
    assert!(pids.iter().all(runs));
    for worker in scalequest_tests::harness::processes::workers_below(env.path()) {
        signal(worker.pid, "KILL");
    }
    signal(runner.id(), "KILL");
    runner.wait().expect("a child");
    wait_until("the end of the server", LONG, || {
        (!pids.iter().any(runs)).then_some(())
    });
}
