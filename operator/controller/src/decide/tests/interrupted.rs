//! Operators killed after any write; Jobs, pods, tasks and records lost, held or damaged.

use std::collections::BTreeSet;

use scalequest_crds::v1alpha1::conditions::reason;

use super::world::{World, run};
use super::{completed, outcome, same};

#[test]
fn an_operator_killed_after_any_write_ends_with_the_same_record() {
    let mut whole = World::new(run(""));
    let reference = outcome(completed(&mut whole));
    for crash in 0..whole.writes {
        let mut world = World::new(run(""));
        (world.seals_last, world.settings.task_in_pod_bytes) = (crash % 3 != 0, (crash % 2) << 16);
        let mut left = crash;
        for _ in 0..500 {
            let before = world.writes;
            let step = world.decide();
            world.apply(&step, left.max(1));
            left = left.saturating_sub(world.writes - before);
            if left == 0 {
                left = usize::MAX;
            }
            world.work();
            if world.condition("Complete") == "True" {
                break;
            }
        }
        same(
            &outcome(world.record().expect("a record")),
            &reference,
            &format!("killed after write {crash}"),
        );
    }
}

#[test]
fn an_operator_killed_after_every_single_write_ends_with_the_same_record() {
    let mut whole = World::new(run(""));
    let reference = outcome(completed(&mut whole));
    for most in 1..4 {
        let mut world = World::new(run(""));
        for _ in 0..2_000 {
            let step = world.decide();
            world.apply(&step, most);
            world.work();
            if world.condition("Complete") == "True" {
                break;
            }
        }
        same(
            &outcome(world.record().expect("a record")),
            &reference,
            "killed again and again",
        );
    }
}

#[test]
fn inputs_are_persisted_before_jobs() {
    let mut world = World::new(run(""));
    while world.condition("Complete") != "True" {
        let step = world.decide();
        world.apply(&step, usize::MAX);
        let record = world.record();
        let jobs = world.belongings().jobs;
        for job in jobs.iter().filter(|job| job.work.stage().is_some()) {
            let record = record.as_ref().expect("a record");
            for input in world.task(job).inputs {
                assert!(
                    record.is_sealed(&input.key),
                    "{} of {}",
                    input.id.stage,
                    job.name
                );
            }
        }
        world.work();
    }
    // A stage is saved once: with its seal, which plans the next one.
    let stages = world.made.iter().filter(|work| work.stage().is_some());
    assert_eq!(world.saves, 1 + stages.count());
}

#[test]
fn jobs_pods_tasks_and_status_may_be_lost_at_any_time_and_nothing_is_made_twice() {
    let mut whole = World::new(run(""));
    let reference = outcome(completed(&mut whole));
    for every in [2, 3, 5, 7] {
        let mut world = World::new(run(""));
        world.settings.task_in_pod_bytes = if every == 3 { 0 } else { 1 << 16 };
        let mut round = 0;
        while world.condition("Complete") != "True" {
            round += 1;
            assert!(round < 2_000, "the run does not end");
            // Where everything is lost again and again, a run may get no further than it can between two losses.
            if round < 100 && round % every == 0 && world.record().is_some() {
                match round / every % 4 {
                    0 => {
                        world.jobs.clear();
                        world.pods.clear();
                    }
                    1 => world.pods.clear(),
                    2 => world.run.status = None,
                    _ => world.maps.retain(|_, map| map.immutable.is_none()),
                }
            }
            let step = world.decide();
            world.apply(&step, usize::MAX);
            world.work();
        }
        same(
            &outcome(world.record().expect("a record")),
            &reference,
            &format!("lost every {every}"),
        );
        let distinct: BTreeSet<_> = world.computed.iter().collect();
        let again = world.computed.len() - distinct.len();
        // A publication lies outside the workspace: whether it is whole is not known, so it is written again.
        let publication = world.record().and_then(|record| record.publication);
        let key = publication.expect("a publication").key;
        let published = world.computed.iter().filter(|(of, _)| *of == key).count();
        assert_eq!(again, published - 1, "a finished shard was made again");
    }
}

#[test]
fn a_run_made_again_under_its_name_adopts_nothing() {
    let mut first = World::new(run(""));
    first.until("some Jobs", |world| world.made.len() > 6);
    let mut second = World::new(run(""));
    second.run.metadata.uid = Some("uid-2".into());
    second.jobs = first.jobs.clone();
    second.maps = first.maps.clone();
    second.pods = first.pods.clone();
    assert!(second.belongings().jobs.is_empty() && second.belongings().maps.is_empty());
    let step = second.decide();
    assert!(step.delete.is_empty());
    for creation in &step.create {
        let name = creation
            .job
            .as_ref()
            .and_then(|job| job.metadata.name.clone())
            .unwrap();
        assert!(
            !second.jobs.contains_key(&name),
            "{name} is the former run's"
        );
    }
    second.jobs.clear();
    second.maps.clear();
    second.pods.clear();
    completed(&mut second);
}

#[test]
fn a_record_that_cannot_be_read_is_left_alone_and_said() {
    let mut world = World::new(run(""));
    world.until("acceptance", |world| world.condition("Accepted") == "True");
    let name = world
        .belongings()
        .maps
        .iter()
        .find(|map| map.record.is_some())
        .map(|map| map.name.clone())
        .unwrap();
    let map = world.maps.get_mut(&name).unwrap();
    map.data
        .as_mut()
        .unwrap()
        .insert("record.json".into(), "{\"version\": 99}".into());
    let step = world.decide();
    assert!(step.save.is_none() && step.create.is_empty() && step.delete.is_empty());
    world.apply(&step, usize::MAX);
    let status = world.run.status.clone().unwrap();
    assert_eq!(world.condition("Accepted"), "True");
    assert_eq!(status.conditions[5].reason, reason::RECORD_UNREADABLE);
    assert!(
        status.conditions[5].message.contains("version 99"),
        "{}",
        status.conditions[5].message
    );
}
