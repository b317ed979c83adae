//! Stages that are cancelled, repeated or sharded differently: the same rows, the same model, the same seal.

use scalequest_crds::protocol::report::Outcome;
use scalequest_crds::protocol::task::{StageParams, StageTask};
use scalequest_worker::stages::StageError;

use crate::fixture::{Fixture, finish, generate, run, sealed, stop_after, training, worker};

#[test]
fn done_shard_is_reused() {
    let fixture = Fixture::new();
    let task = generate(&fixture, 5);
    assert_eq!(
        run(&task, 0).expect("done").outcome,
        Outcome::Done { reused: false }
    );
    assert_eq!(
        run(&task, 0).expect("done").outcome,
        Outcome::Done { reused: true }
    );
    assert!(
        matches!(run(&task, 1), Err(StageError::Permanent(message)) if message.contains("no shard 1"))
    );
}

#[test]
fn shards_and_stops_change_no_rows() {
    let (whole, cut, stopped) = (Fixture::new(), Fixture::new(), Fixture::new());
    let expected = finish(&generate(&whole, 70));
    let small = StageTask {
        shard_rows: 9,
        ..generate(&cut, 70)
    };
    assert_eq!(finish(&small).digest, expected.digest);

    let task = generate(&stopped, 70);
    let mut attempts = 0;
    // Progress is reported when a batch of rows ends, so each attempt gets a little further than the one before.
    while stop_after(&task, 4 + attempts) == Err(StageError::Stopped) {
        attempts += 1;
        assert!(attempts < 100, "no progress is saved");
    }
    assert!(attempts > 0, "it was never cancelled");
    assert_eq!(sealed(&task).digest, expected.digest);
    let left = stopped
        .store()
        .list(&format!("stages/generate-{}/checkpoint", task.key))
        .expect("a list");
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn stopped_training_resumes_to_same_model() {
    let task = |fixture: &Fixture| {
        let params = StageParams::Qft {
            model: fixture.model("model"),
            system_prompt: None,
            seed_questions: fixture.seeds(),
            training: training(),
        };
        fixture.task(params, &[], 12)
    };
    let (whole, stopped) = (Fixture::new(), Fixture::new());
    let expected = finish(&task(&whole));
    let mut attempts = 0;
    while stop_after(&task(&stopped), 4) == Err(StageError::Stopped) {
        attempts += 1;
        assert!(attempts < 100, "no progress is saved");
    }
    assert!(attempts > 0, "it was never cancelled");
    assert_eq!(sealed(&task(&stopped)).digest, expected.digest);
}

#[test]
fn last_shard_seals_the_stage() {
    let fixture = Fixture::new();
    let task = StageTask {
        shard_rows: 3,
        ..generate(&fixture, 8)
    };
    let file = fixture.path("task.json");
    std::fs::write(&file, serde_json::to_string(&task).expect("json")).expect("a task");
    let report = fixture.path("report.json");
    let (file, report) = (
        file.to_str().expect("a path"),
        report.to_str().expect("a path"),
    );
    let files = ["--task", file, "--report", report];
    let run = |shard: &str| {
        let (code, _, report) =
            worker(&[&["run", "--seal-if-complete", "--shard", shard], &files[..]].concat());
        assert_eq!(code, 0, "{report:?}");
        report.expect("a report")
    };
    for shard in ["2", "0"] {
        let report = run(shard);
        assert_eq!(
            (
                &report["outcome"]["done"]["reused"],
                report["shard"].to_string().as_str()
            ),
            (&false.into(), shard)
        );
    }
    let mut last = run("1");
    let (_, _, seal) = worker(&[&["seal"], &files[..]].concat());
    let mut seal = seal.expect("a report");
    for report in [&mut last, &mut seal] {
        assert!(report["shard"].is_null() && report["outcome"]["sealed"].is_object());
        report["workerMillis"] = 0.into();
    }
    assert_eq!(last, seal);
    // A worker that finds its shard committed does not report a seal.
    assert_eq!(run("1")["outcome"]["done"]["reused"], true);
}
