//! What must hold for every run: that it ends, that crashes, orders and damage change nothing, that limits stop it.

use proptest::prelude::*;
use scalequest_crds::protocol::task::StageParams;
use scalequest_crds::v1alpha1::Stage;
use scalequest_crds::v1alpha1::conditions::reason;

use super::{Executor, Imagined, World, accepted, run};
use crate::plan::*;
use crate::record::RECORD_MAX_BYTES;

fn imagined() -> impl Strategy<Value = Imagined> {
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
            |(generators, judge, difficulty, target, max_waves, kept_percent)| Imagined {
                generators,
                judge,
                difficulty,
                target,
                max_waves,
                kept_percent,
                ..Imagined::default()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_run_ends_and_what_it_did_adds_up(what in imagined(), seed in any::<u64>()) {
        let run = run(&what);
        let mut executor = Executor::new(&run, World::new(what.kept_percent), seed);
        let end = executor.drive(&run);
        let record = &executor.record;
        let target = run.limits().target;
        match &end {
            End::Complete => prop_assert!(record.accepted() >= target),
            End::Short(short) => {
                prop_assert!(record.accepted() < target);
                prop_assert_eq!(record.waves.len(), usize::try_from(run.limits().max_waves).unwrap());
                prop_assert!(short.message.contains("maxWaves"), "{}", short);
            }
            End::Failed(failure) => prop_assert!(false, "{failure}"),
        }
        let published = record.publication.as_ref().unwrap();
        prop_assert_eq!(published.rows, record.accepted());
        prop_assert_eq!(published.incomplete.is_some(), end != End::Complete);
    }

    #[test]
    fn crashes_and_other_orders_change_nothing_in_the_outcome(what in imagined(), seed in any::<u64>()) {
        let run = run(&what);
        let mut plain = Executor::new(&run, World::new(what.kept_percent), 1);
        let end = plain.drive(&run);
        let mut crashing = Executor::new(&run, World::new(what.kept_percent), seed);
        crashing.crash_percent = 30;
        prop_assert_eq!(crashing.drive(&run), end);
        prop_assert_eq!(&crashing.record.waves, &plain.record.waves);
        prop_assert_eq!(&crashing.record.publication, &plain.record.publication);
        prop_assert_eq!(crashing.record.rejected(), plain.record.rejected());
    }

    #[test]
    fn damage_is_made_good_and_changes_nothing(what in imagined(), seed in any::<u64>()) {
        let run = run(&what);
        let mut plain = Executor::new(&run, World::new(what.kept_percent), 1);
        plain.drive(&run);
        let mut damaged = Executor::new(&run, World::new(what.kept_percent), seed);
        damaged.damage_percent = 10;
        damaged.drive(&run);
        prop_assert_eq!(&damaged.record.publication, &plain.record.publication);
    }

    #[test]
    fn a_budget_stops_the_run_and_a_raised_one_goes_on(what in imagined(), hours in 0.0002f64..0.02) {
        let unlimited = run(&what);
        let limited = run(&Imagined { gpu_hours: Some(hours), ..what.clone() });
        let mut executor = Executor::new(&limited, World::new(what.kept_percent), 7);
        let end = executor.drive(&limited);
        let accepted_then = executor.record.accepted();
        if let End::Short(short) = &end && short.reason == reason::BUDGET_EXHAUSTED {
            let published = executor.record.publication.clone().unwrap();
            prop_assert_eq!(published.rows, accepted_then);
            prop_assert!(published.incomplete.is_some());
        }
        executor.record.amend(&unlimited).unwrap();
        executor.drive(&unlimited);
        prop_assert!(executor.record.accepted() >= accepted_then);
        let mut plain = Executor::new(&unlimited, World::new(what.kept_percent), 1);
        plain.drive(&unlimited);
        prop_assert_eq!(&executor.record.publication, &plain.record.publication);
    }

    #[test]
    fn a_grown_target_keeps_what_was_accepted_and_adds_waves(what in imagined(), more in 1i64..300) {
        let small = run(&what);
        let mut executor = Executor::new(&small, World::new(what.kept_percent.max(30)), 3);
        executor.drive(&small);
        let (before, waves) = (executor.record.accepted(), executor.record.waves.clone());
        let large = run(&Imagined { target: what.target + more, max_waves: 64, ..what });
        executor.record.amend(&large).unwrap();
        let end = executor.drive(&large);
        prop_assert!(executor.record.accepted() >= before.max(1));
        prop_assert_eq!(&executor.record.waves[..waves.len()], &waves[..]);
        prop_assert!(matches!(end, End::Complete));
    }
}

#[test]
fn a_second_run_on_the_same_workspace_recomputes_nothing() {
    let run = run(&Imagined::default());
    let mut first = Executor::new(&run, World::new(60), 1);
    first.drive(&run);
    let computed = first.computed;
    assert!(computed > 5);
    let mut second = Executor::new(&run, first.world.clone(), 2);
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
fn chains_of_generators_run_side_by_side() {
    let run = run(&Imagined {
        generators: vec![(3, true, true), (1, true, false)],
        ..Imagined::default()
    });
    let first = plan(&run, &accepted(&run), &Observed::default(), 0);
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
fn a_run_with_everything_off_goes_from_questions_to_answers() {
    let run = run(&Imagined {
        generators: vec![(1, false, false)],
        judge: false,
        difficulty: false,
        ..Imagined::default()
    });
    let mut executor = Executor::new(&run, World::new(50), 1);
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
fn a_run_that_accepts_nothing_says_what_it_dropped() {
    let run = run(&Imagined {
        max_waves: 3,
        ..Imagined::default()
    });
    let mut executor = Executor::new(&run, World::new(0), 1);
    let End::Short(short) = executor.drive(&run) else {
        panic!()
    };
    assert!(
        short
            .message
            .contains("0 of 40 pairs were accepted of 128 questions")
            && short.message.contains("most were dropped as"),
        "{short}"
    );
    assert_eq!(executor.record.publication.as_ref().unwrap().rows, 0);
}

#[test]
fn a_stage_that_cannot_work_fails_the_run_with_its_words() {
    let run = run(&Imagined::default());
    let failed = vec![StageFailure {
        key: "k".into(),
        name: "judge, wave 1".into(),
        failure: Failure {
            reason: reason::STAGE_FAILED,
            message: "no tensor x".into(),
        },
    }];
    let plan = plan(
        &run,
        &accepted(&run),
        &Observed {
            failed,
            ..Observed::default()
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
fn a_suspended_run_starts_nothing_and_a_late_one_publishes() {
    let held = run(&Imagined {
        suspend: true,
        ..Imagined::default()
    });
    let nothing = plan(&held, &accepted(&held), &Observed::default(), 0);
    assert!(nothing.start.is_empty() && nothing.held.is_some() && nothing.finished.is_none());
    let late = run(&Imagined {
        deadline_seconds: Some(60),
        ..Imagined::default()
    });
    let in_time = plan(&late, &accepted(&late), &Observed::default(), 59_999);
    assert!(
        in_time
            .start
            .iter()
            .all(|task| task.id.stage != Stage::Publish)
    );
    let over = plan(&late, &accepted(&late), &Observed::default(), 60_000);
    assert_eq!(
        over.start
            .iter()
            .map(|task| task.id.stage)
            .collect::<Vec<_>>(),
        [Stage::Publish]
    );
}

#[test]
fn a_record_of_many_waves_stays_within_its_bound() {
    let what = Imagined {
        generators: vec![(1, false, false); 8],
        target: 2000,
        max_waves: 64,
        ..Imagined::default()
    };
    let run = run(&what);
    let mut executor = Executor::new(&run, World::new(0), 1);
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
    assert!(matches!(end, End::Short(_)));
    let publish = executor.world.last_publish.clone().unwrap();
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
fn shards_follow_the_measured_rate_and_stay_pinned() {
    let run = run(&Imagined {
        target: 1000,
        ..Imagined::default()
    });
    let mut executor = Executor::new(&run, World::new(50), 1);
    executor.world.millis_per_row = 60_000;
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
