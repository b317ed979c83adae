//! Stages that start a server for themselves: a trained generator, a judge and a responder on servers that die on the way, servers that never
//! come up, and none that outlives its worker.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use scalequest_crds::Stage;
use scalequest_crds::row::QuestionRow;
use scalequest_tests::harness::binaries::binary;
use scalequest_tests::harness::processes::{signal, wait_until};
use scalequest_tests::harness::{FinishedRun, MicroRun, Workbench};
use serde_json::json;

const LONG: Duration = Duration::from_secs(120);

/// A run with one trained generator whose model, judge and responder are served by `command`.
fn served(command: &[&str]) -> MicroRun {
    let engine = json!({"type": "Server", "server": {"command": command}});
    MicroRun::served("served", engine)
}

/// What all workers of the run have logged.
fn logs(bench: &Workbench) -> String {
    let logs = std::fs::read_dir(bench.path().join("workspace/runs/served/logs")).expect("logs");
    let texts = logs.filter_map(|log| std::fs::read_to_string(log.ok()?.path()).ok());
    texts.collect()
}

/// `transformers serve`, where `SCALEQUEST_TRANSFORMERS` names the program (`pip install 'transformers[serving]'`).
#[test]
fn transformers_serves_a_generator_that_was_trained_here() {
    let Ok(program) = std::env::var("SCALEQUEST_TRANSFORMERS") else {
        eprintln!("skipped: SCALEQUEST_TRANSFORMERS does not name the program `transformers`");
        return;
    };
    let bench = Workbench::new();
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
    served(&command)
        .set("/spec/filters", json!({"duplicates": {}}))
        .set("/spec/responses/model", "chat")
        .set("/spec/target", json!({"examples": 4, "maxWaves": 2}))
        .write(&bench);
    let finished = bench.run();
    assert!(
        matches!(finished.code, Some(0 | 3)),
        "{}\n{}",
        finished.stderr,
        logs(&bench)
    );
    let run = FinishedRun::read(bench.path(), "served");
    let generated: Vec<QuestionRow> = run.rows(Stage::Generate, "rows");
    let seals = run
        .stages(Stage::Generate)
        .filter_map(|each| each.seal.clone());
    assert!(
        seals
            .into_iter()
            .all(|seal| seal.bodies == ["server:transformers"])
    );
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
fn a_trained_generator_a_judge_and_a_responder_are_served_by_servers_that_die_on_the_way() {
    let program = binary("chat-server").display().to_string();
    let finish = |command: &[&str]| {
        let bench = Workbench::new();
        served(command).write(&bench);
        bench.run().exits_with(0);
        let run = FinishedRun::read(bench.path(), "served");
        for stage in [Stage::Generate, Stage::Judge, Stage::Respond] {
            let seals = run.stages(stage).filter_map(|each| each.seal.clone());
            assert!(
                seals
                    .into_iter()
                    .all(|seal| seal.bodies == ["server:chat-server"]),
                "{stage}"
            );
        }
        assert!(run.stages(Stage::Qft).all(|each| {
            each.seal
                .as_ref()
                .is_some_and(|seal| seal.bodies != ["server:chat-server"])
        }));
        (bench, run)
    };
    let (_whole, undisturbed) = finish(&[&program, "{model}", "{port}"]);
    // The command is part of what a stage is addressed by: the same one, with a third argument that changes nothing.
    let (other, dying) = finish(&[&program, "{model}", "{port}", "25"]);
    assert_eq!(undisturbed.dataset().parquet, dying.dataset().parquet);
    assert!(logs(&other).contains("the model's server ended and is started again"));
}

#[test]
fn a_server_that_never_comes_up_fails_the_run_with_its_command_and_end() {
    let bench = Workbench::new();
    served(&[
        "sh",
        "-c",
        "echo no such model >&2; exit 3",
        "{model}",
        "{port}",
    ])
    .write(&bench);
    bench
        .run()
        .exits_with(1)
        .says(&["ended 4 times", "exit status: 3"]);
    assert!(
        logs(&bench).contains("no such model"),
        "the server's own words are in no log"
    );
    let other = Workbench::new();
    served(&["no-such-server", "{model}", "{port}"]).write(&other);
    other
        .run()
        .exits_with(1)
        .says(&["no-such-server", "ended 4 times"]);
}

#[test]
fn no_server_outlives_a_runner_and_a_worker_that_are_killed() {
    let bench = Workbench::new();
    let script = format!("echo $$ > {}/pid; exec sleep 1000", bench.path().display());
    served(&["sh", "-c", &script, "{model}", "{port}"]).write(&bench);
    let mut runner = bench.start(&["run", "-f", "run.yaml"], "run.log");
    let pid = wait_until("a server", LONG, || {
        let text = std::fs::read_to_string(bench.path().join("pid")).ok()?;
        text.trim().parse::<u32>().ok()
    });
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    for worker in scalequest_tests::harness::processes::workers_below(bench.path()) {
        signal(worker.pid, "KILL");
    }
    signal(runner.id(), "KILL");
    runner.wait().expect("a child");
    wait_until("the end of the server", LONG, || {
        (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
}
