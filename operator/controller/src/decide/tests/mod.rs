//! Whole runs on a cluster in memory: interrupted after every write, with Jobs and reports lost, held, damaged and poisoned.

mod edits;
mod interrupted;
mod workers;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use scalequest_crds::v1alpha1::Stage;

use self::world::{World, run};
use crate::names::Purpose;
use scalequest_core::record::RunRecord;

/// Whether two records tell of the same run; only the first difference is told.
#[track_caller]
fn same(a: &RunRecord, b: &RunRecord, when: &str) {
    let (a, b) = (a.to_json(), b.to_json());
    let at = a.bytes().zip(b.bytes()).position(|(a, b)| a != b);
    let shown = |text: &str| {
        let from = at.unwrap_or(0).saturating_sub(60);
        text.chars().skip(from).take(160).collect::<String>()
    };
    assert!(a == b, "{when}:\n{}\n{}", shown(&a), shown(&b));
}

fn completed(world: &mut World) -> RunRecord {
    world.until("the end", |world| world.condition("Complete") == "True");
    world.record().expect("a record")
}

/// The record without what depends on how often something was tried.
fn outcome(mut record: RunRecord) -> RunRecord {
    record.usage.clear();
    record.charged = Default::default();
    record.accepted_at_millis = 0;
    record.damages.clear();
    for stage in &mut record.stages {
        (stage.worker_millis, stage.gpu_millis, stage.computed) = (0, 0, false);
        // Shards are sized by time, and decide nothing about the rows.
        stage.shard_rows = 0;
        if let Some(seal) = &mut stage.seal {
            seal.reused = false;
        }
    }
    record
}

#[test]
fn a_run_ends_with_its_dataset_and_then_nothing_is_written() {
    let mut world = World::new(run(""));
    let record = completed(&mut world);
    assert!(record.accepted() >= 40 && record.publication.is_some());
    let stages = world.computed.iter().collect::<BTreeSet<_>>();
    assert_eq!(stages.len(), world.computed.len(), "a shard was made twice");
    assert!(record.total_usage().worker_millis > 0);
    let step = world.decide();
    world.apply(&step, usize::MAX);
    for _ in 0..3 {
        world.now_millis += 10_000;
        let (writes, step) = (world.writes, world.decide());
        assert!(
            step.save.is_none()
                && step.create.is_empty()
                && step.delete.is_empty()
                && step.resize.is_empty()
        );
        world.apply(&step, usize::MAX);
        assert_eq!(
            world.writes, writes,
            "something was written though nothing changed"
        );
    }
}

#[test]
fn a_stage_has_one_job_at_a_time_each_with_a_name_of_its_own() {
    let mut world = World::new(run(""));
    for _ in 0..200 {
        let step = world.decide();
        world.apply(&step, usize::MAX);
        let mut live: BTreeMap<String, usize> = BTreeMap::new();
        for job in world
            .belongings()
            .jobs
            .iter()
            .filter(|job| !job.has_ended())
        {
            *live.entry(format!("{:?}", job.work.id)).or_default() += 1;
        }
        assert!(live.values().all(|jobs| *jobs == 1), "{live:?}");
        world.work();
        if world.condition("Complete") == "True" {
            return;
        }
    }
    panic!("the run does not end");
}

#[test]
fn a_stage_that_its_last_worker_seals_takes_one_job_and_a_new_one_none_to_find_that_nothing_is_there()
 {
    let mut world = World::new(run(""));
    completed(&mut world);
    let stages: BTreeSet<_> = world
        .made
        .iter()
        .filter_map(|work| work.id.clone())
        .collect();
    assert_eq!(world.made.len(), 1 + stages.len());
    // In a workspace that others use, what reads no new stage may be there already and is looked for first.
    let mut shared = World::new(run(""));
    shared.shards.insert("another".into(), BTreeSet::from([0]));
    completed(&mut shared);
    let looked_for: Vec<_> = shared
        .made
        .iter()
        .filter(|work| work.purpose == Purpose::Seal)
        .map(|work| work.stage())
        .collect();
    assert_eq!(looked_for, [Some(Stage::Qft)]);
    // Another run on the same workspace finds it all and makes its own publication. (Later waves have shards of other sizes, which this
    // world, unlike a workspace, cannot use.)
    let mut second = World::new(run(""));
    second.shards = world.shards.clone();
    completed(&mut second);
    let mut again = second
        .made
        .iter()
        .filter(|work| work.purpose == Purpose::Run);
    assert!(again.all(|work| work.stage() == Some(Stage::Publish) || work.wave() > Some(1)));
}

#[test]
fn stages_that_are_left_unsealed_and_tasks_too_large_for_pods_change_nothing() {
    let mut whole = World::new(run(""));
    let reference = outcome(completed(&mut whole));
    let mut world = World::new(run(""));
    world.seals_last = false;
    same(
        &outcome(completed(&mut world)),
        &reference,
        "sealed by Jobs",
    );
    let sealed = world
        .made
        .iter()
        .filter(|work| work.purpose == Purpose::Seal);
    assert!(sealed.count() > 10);
    let mut world = World::new(run(""));
    world.settings.task_in_pod_bytes = 0;
    same(
        &outcome(completed(&mut world)),
        &reference,
        "tasks in ConfigMaps",
    );
    assert!(world.writes > whole.writes + 10);
}

#[test]
fn usage_is_charged_once_whatever_is_seen_how_often() {
    let mut world = World::new(run(""));
    let record = completed(&mut world);
    let lifetimes = world
        .pods
        .iter()
        .filter(|pod| pod.work.stage().is_some())
        .count();
    assert_eq!(
        record.total_usage().worker_millis,
        i64::try_from(lifetimes).unwrap() * 1_000
    );
    world.now_millis += 3_600_000;
    let step = world.decide();
    world.apply(&step, usize::MAX);
    assert_eq!(
        world.record().unwrap().total_usage().worker_millis,
        record.total_usage().worker_millis
    );
}

#[test]
fn a_run_is_removed_when_its_time_after_the_end_is_over_and_not_before() {
    let mut world = World::new(run("  ttlSecondsAfterFinished: 100"));
    completed(&mut world);
    assert!(!world.decide().remove_run);
    world.now_millis += 101_000;
    assert!(world.decide().remove_run);
    let mut working = World::new(run("  ttlSecondsAfterFinished: 0"));
    working.until("acceptance", |world| world.condition("Accepted") == "True");
    assert!(!working.decide().remove_run);
}
