//! What must hold for every run: that it ends, that crashes, orders and damage change nothing, that limits stop it.

use proptest::prelude::*;
use scalequest_crds::protocol::task::StageParams;
use scalequest_crds::v1alpha1::Stage;
use scalequest_crds::v1alpha1::conditions::reason;

use super::{Executor, FakeRun, FakeWorkspace, accepted, run};
use crate::plan::*;
use crate::record::RECORD_MAX_BYTES;

fn any_fake_run() -> impl Strategy<Value = FakeRun> {
    let generators = proptest::collection::vec((1i64..100, any::<bool>(), any::<bool>()), 1..4);
    (
        generators,
        any::<bool>(),
        any::<bool>(),
        1i64..400,
        1i32..8,
        0u64..100,
    )
        .prop_map(
            |(generators, judge, difficulty, target, max_waves, kept_percent)| FakeRun {
                generators,
                judge,
                difficulty,
                target,
                max_waves,
                kept_percent,
                ..FakeRun::default()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn runs_end_with_consistent_counts(what in any_fake_run(), seed in any::<u64>()) {
        let run = run(&what);
        let mut executor = Executor::new(&run, FakeWorkspace::new(what.kept_percent), seed);
        let end = executor.drive(&run);
        let record = &executor.record;
        let target = run.limits().target;
        match &end {
            End::Complete => prop_assert!(record.accepted() >= target),
            End::Incomplete(incomplete) => {
                prop_assert!(record.accepted() < target);
                prop_assert_eq!(record.waves.len(), usize::try_from(run.limits().max_waves).unwrap());
                prop_assert!(incomplete.message.contains("maxWaves"), "{}", incomplete);
            }
            End::Failed(failure) => prop_assert!(false, "{failure}"),
        }
        let published = record.publication.as_ref().unwrap();
        prop_assert_eq!(published.rows, record.accepted());
        prop_assert_eq!(published.incomplete.is_some(), end != End::Complete);
    }

    #[test]
    fn crashes_keep_the_outcome(what in any_fake_run(), seed in any::<u64>()) {
        let run = run(&what);
        let mut plain = Executor::new(&run, FakeWorkspace::new(what.kept_percent), 1);
        let end = plain.drive(&run);
        let mut crashing = Executor::new(&run, FakeWorkspace::new(what.kept_percent), seed);
        crashing.crash_percent = 30;
        prop_assert_eq!(crashing.drive(&run), end);
        prop_assert_eq!(&crashing.record.waves, &plain.record.waves);
        prop_assert_eq!(&crashing.record.publication, &plain.record.publication);
        prop_assert_eq!(crashing.record.rejected(), plain.record.rejected());
    }

    #[test]
    fn corruption_keeps_the_outcome(what in any_fake_run(), seed in any::<u64>()) {
        let run = run(&what);
        let mut plain = Executor::new(&run, FakeWorkspace::new(what.kept_percent), 1);
        plain.drive(&run);
        let mut damaged = Executor::new(&run, FakeWorkspace::new(what.kept_percent), seed);
        damaged.corruption_percent = 10;
        damaged.drive(&run);
        prop_assert_eq!(&damaged.record.publication, &plain.record.publication);
    }

    #[test]
    fn raised_budget_resumes_the_run(what in any_fake_run(), hours in 0.0002f64..0.02) {
        let unlimited = run(&what);
        let limited = run(&FakeRun { gpu_hours: Some(hours), ..what.clone() });
        let mut executor = Executor::new(&limited, FakeWorkspace::new(what.kept_percent), 7);
        let end = executor.drive(&limited);
        let accepted_then = executor.record.accepted();
        if let End::Incomplete(incomplete) = &end && incomplete.reason == reason::BUDGET_EXHAUSTED {
            let published = executor.record.publication.clone().unwrap();
            prop_assert_eq!(published.rows, accepted_then);
            prop_assert!(published.incomplete.is_some());
        }
        executor.record.amend(&unlimited).unwrap();
        executor.drive(&unlimited);
        prop_assert!(executor.record.accepted() >= accepted_then);
        let mut plain = Executor::new(&unlimited, FakeWorkspace::new(what.kept_percent), 1);
        plain.drive(&unlimited);
        prop_assert_eq!(&executor.record.publication, &plain.record.publication);
    }

    #[test]
    fn grown_target_adds_waves(what in any_fake_run(), more in 1i64..300) {
        let small = run(&what);
        let mut executor = Executor::new(&small, FakeWorkspace::new(what.kept_percent.max(30)), 3);
        executor.drive(&small);
        let (before, waves) = (executor.record.accepted(), executor.record.waves.clone());
        let large = run(&FakeRun { target: what.target + more, max_waves: 64, ..what });
        executor.record.amend(&large).unwrap();
        let end = executor.drive(&large);
        prop_assert!(executor.record.accepted() >= before.max(1));
        prop_assert_eq!(&executor.record.waves[..waves.len()], &waves[..]);
        prop_assert!(matches!(end, End::Complete));
    }
}

#[test]
fn second_run_reuses_the_workspace() {
    let run = run(&FakeRun::default());
    let mut first = Executor::new(&run, FakeWorkspace::new(60), 1);
    first.drive(&run);
    let computed = first.computed;
    assert!(computed > 5);
    let mut second = Executor::new(&run, first.workspace.clone(), 2);
    second.drive(&run);
    assert_eq!(second.computed, 0);
    assert_eq!(second.record.publication, first.record.publication);
    assert!(
        second
            .record
            .stages
            .iter()
            .all(|stage| stage.seal.as_ref().is_some_and(|seal| seal.reused))
    );
}

#[test]
fn generator_chains_run_in_parallel() {
    let run = run(&FakeRun {
        generators: vec![(3, true, true), (1, true, false)],
        ..FakeRun::default()
    });
    let first = plan(&run, &accepted(&run), &Observations::default(), 0);
    let started: Vec<(Stage, Option<&str>)> = first
        .start
        .iter()
        .map(|task| (task.id.stage, task.id.generator.as_deref()))
        .collect();
    assert_eq!(
        started,
        [
            (Stage::Qft, Some("g0")),
            (Stage::Qft, Some("g1")),
            (Stage::Label, None)
        ]
    );
    assert_eq!(first.pins.wave.as_ref().unwrap().questions, [24, 8]);
}

#[test]
fn minimal_method_skips_optional_stages() {
    let run = run(&FakeRun {
        generators: vec![(1, false, false)],
        judge: false,
        difficulty: false,
        ..FakeRun::default()
    });
    let mut executor = Executor::new(&run, FakeWorkspace::new(50), 1);
    executor.drive(&run);
    let mut stages: Vec<Stage> = executor
        .record
        .stages
        .iter()
        .filter(|stage| stage.id.wave.unwrap_or(1) == 1)
        .map(|stage| stage.id.stage)
        .collect();
    stages.sort();
    assert_eq!(
        stages,
        [
            Stage::Generate,
            Stage::Filter,
            Stage::Respond,
            Stage::Reward,
            Stage::Verify,
            Stage::Publish
        ]
    );
}

#[test]
fn empty_dataset_names_reject_reasons() {
    let run = run(&FakeRun {
        max_waves: 3,
        ..FakeRun::default()
    });
    let mut executor = Executor::new(&run, FakeWorkspace::new(0), 1);
    let End::Incomplete(incomplete) = executor.drive(&run) else {
        panic!()
    };
    assert!(
        incomplete
            .message
            .contains("0 of 40 pairs were accepted of 128 questions")
            && incomplete.message.contains("most were dropped as"),
        "{incomplete}"
    );
    assert_eq!(executor.record.publication.as_ref().unwrap().rows, 0);
}

#[test]
fn permanent_stage_failure_fails_run() {
    let run = run(&FakeRun::default());
    let failed = vec![StageFailure {
        key: "k".into(),
        name: "judge, wave 1".into(),
        failure: Failure {
            reason: reason::STAGE_FAILED,
            message: "no tensor x".into(),
        },
        retry: Default::default(),
    }];
    let plan = plan(
        &run,
        &accepted(&run),
        &Observations {
            failed,
            ..Observations::default()
        },
        0,
    );
    assert_eq!(
        plan.finished,
        Some(End::Failed(Failure {
            reason: reason::STAGE_FAILED,
            message: "judge, wave 1: no tensor x".into(),
        }))
    );
    assert!(plan.start.is_empty());
}

#[test]
fn suspended_waits_late_publishes() {
    let held = run(&FakeRun {
        suspend: true,
        ..FakeRun::default()
    });
    let nothing = plan(&held, &accepted(&held), &Observations::default(), 0);
    assert!(nothing.start.is_empty() && nothing.suspended.is_some() && nothing.finished.is_none());
    let late = run(&FakeRun {
        deadline_seconds: Some(60),
        ..FakeRun::default()
    });
    let in_time = plan(&late, &accepted(&late), &Observations::default(), 59_999);
    assert!(
        in_time
            .start
            .iter()
            .all(|task| task.id.stage != Stage::Publish)
    );
    let over = plan(&late, &accepted(&late), &Observations::default(), 60_000);
    assert_eq!(
        over.start
            .iter()
            .map(|task| task.id.stage)
            .collect::<Vec<_>>(),
        [Stage::Publish]
    );
}

#[test]
fn record_of_many_waves_fits() {
    let what = FakeRun {
        generators: vec![(1, false, false); 8],
        target: 2000,
        max_waves: 64,
        ..FakeRun::default()
    };
    let run = run(&what);
    let mut executor = Executor::new(&run, FakeWorkspace::new(0), 1);
    let end = executor.drive(&run);
    assert!(
        executor.record.waves.len() >= 20,
        "{} waves",
        executor.record.waves.len()
    );
    assert!(
        executor.largest_record <= RECORD_MAX_BYTES,
        "{} bytes",
        executor.largest_record
    );
    assert!(matches!(end, End::Incomplete(_)));
    let publish = executor.workspace.last_publish.clone().unwrap();
    assert_eq!(publish.inputs.len(), executor.record.waves.len() * 14 + 2);
    // A task too large for an annotation is a ConfigMap, which holds 1 MiB.
    let task = serde_json::to_string(&publish).unwrap();
    assert!(task.len() < 1 << 20, "{} bytes", task.len());
    let StageParams::Publish { publication } = &publish.params else {
        panic!()
    };
    let total: i64 = publication
        .costs
        .iter()
        .map(|cost| cost.worker_millis)
        .sum();
    let spent = executor.record.total_usage().worker_millis
        - executor.record.usage[&Stage::Publish].worker_millis;
    assert_eq!(total, spent);
}

#[test]
fn shard_sizes_follow_measured_rate() {
    let run = run(&FakeRun {
        target: 1000,
        ..FakeRun::default()
    });
    let mut executor = Executor::new(&run, FakeWorkspace::new(50), 1);
    executor.workspace.millis_per_row = 60_000;
    executor.drive(&run);
    let later = executor
        .record
        .stages
        .iter()
        .find(|stage| stage.id.stage == Stage::Respond && stage.id.wave == Some(2))
        .unwrap();
    assert_eq!(later.shard_rows, 15);
    assert!(later.work > 15);
}
