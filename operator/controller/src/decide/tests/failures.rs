//! Crashes of the controller after any write; lost Jobs, pods, tasks and records.

use std::collections::BTreeSet;

use scalequest_crds::v1alpha1::conditions::reason;

use super::fake_cluster::{FakeCluster, run};
use super::{assert_same, completed, outcome};

#[test]
fn crash_after_any_write_keeps_outcome() {
    let mut whole = FakeCluster::new(run(""));
    let reference = outcome(completed(&mut whole));
    for crash in 0..whole.writes {
        let mut cluster = FakeCluster::new(run(""));
        (cluster.seals_last, cluster.settings.task_in_pod_bytes) =
            (crash % 3 != 0, (crash % 2) << 16);
        let mut left = crash;
        for _ in 0..500 {
            let before = cluster.writes;
            let actions = cluster.decide();
            cluster.apply(&actions, left.max(1));
            left = left.saturating_sub(cluster.writes - before);
            if left == 0 {
                left = usize::MAX;
            }
            cluster.work();
            if cluster.condition("Complete") == "True" {
                break;
            }
        }
        assert_same(
            &outcome(cluster.record().expect("a record")),
            &reference,
            &format!("killed after write {crash}"),
        );
    }
}

#[test]
fn crash_after_every_write_keeps_outcome() {
    let mut whole = FakeCluster::new(run(""));
    let reference = outcome(completed(&mut whole));
    for most in 1..4 {
        let mut cluster = FakeCluster::new(run(""));
        for _ in 0..2_000 {
            let actions = cluster.decide();
            cluster.apply(&actions, most);
            cluster.work();
            if cluster.condition("Complete") == "True" {
                break;
            }
        }
        assert_same(
            &outcome(cluster.record().expect("a record")),
            &reference,
            "killed again and again",
        );
    }
}

#[test]
fn inputs_are_persisted_before_jobs() {
    let mut cluster = FakeCluster::new(run(""));
    while cluster.condition("Complete") != "True" {
        let actions = cluster.decide();
        cluster.apply(&actions, usize::MAX);
        let record = cluster.record();
        let jobs = cluster.owned().jobs;
        for job in jobs.iter().filter(|job| job.identity.stage().is_some()) {
            let record = record.as_ref().expect("a record");
            for input in cluster.task(job).inputs {
                assert!(
                    record.is_sealed(&input.key),
                    "{} of {}",
                    input.id.stage,
                    job.name
                );
            }
        }
        cluster.work();
    }
    // A stage is saved once: with its seal, which plans the next one.
    let stages = cluster.made.iter().filter(|work| work.stage().is_some());
    assert_eq!(cluster.saves, 1 + stages.count());
}

#[test]
fn deleted_objects_recompute_nothing() {
    let mut whole = FakeCluster::new(run(""));
    let reference = outcome(completed(&mut whole));
    for every in [2, 3, 5, 7] {
        let mut cluster = FakeCluster::new(run(""));
        cluster.settings.task_in_pod_bytes = if every == 3 { 0 } else { 1 << 16 };
        let mut attempt = 0;
        while cluster.condition("Complete") != "True" {
            attempt += 1;
            assert!(attempt < 2_000, "the run does not end");
            // Where everything is lost again and again, a run may get no further than it can between two losses.
            if attempt < 100 && attempt % every == 0 && cluster.record().is_some() {
                match attempt / every % 4 {
                    0 => {
                        cluster.jobs.clear();
                        cluster.pods.clear();
                    }
                    1 => cluster.pods.clear(),
                    2 => cluster.run.status = None,
                    _ => cluster.maps.retain(|_, map| map.immutable.is_none()),
                }
            }
            let actions = cluster.decide();
            cluster.apply(&actions, usize::MAX);
            cluster.work();
        }
        assert_same(
            &outcome(cluster.record().expect("a record")),
            &reference,
            &format!("lost every {every}"),
        );
        let distinct: BTreeSet<_> = cluster.computed.iter().collect();
        let again = cluster.computed.len() - distinct.len();
        // The output of a publication is outside the workspace, so it is written again.
        let publication = cluster.record().and_then(|record| record.publication);
        let key = publication.expect("a publication").key;
        let published = cluster.computed.iter().filter(|(of, _)| *of == key).count();
        assert_eq!(again, published - 1, "a committed shard was computed again");
    }
}

#[test]
fn recreated_run_adopts_nothing() {
    let mut first = FakeCluster::new(run(""));
    first.until("some Jobs", |cluster| cluster.made.len() > 6);
    let mut second = FakeCluster::new(run(""));
    second.run.metadata.uid = Some("uid-2".into());
    second.jobs = first.jobs.clone();
    second.maps = first.maps.clone();
    second.pods = first.pods.clone();
    assert!(second.owned().jobs.is_empty() && second.owned().maps.is_empty());
    let actions = second.decide();
    assert!(actions.delete.is_empty());
    for creation in &actions.create {
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
fn unreadable_record_is_kept() {
    let mut cluster = FakeCluster::new(run(""));
    cluster.until("acceptance", |cluster| {
        cluster.condition("Accepted") == "True"
    });
    let name = cluster
        .owned()
        .maps
        .iter()
        .find(|map| map.record.is_some())
        .map(|map| map.name.clone())
        .unwrap();
    let map = cluster.maps.get_mut(&name).unwrap();
    map.data
        .as_mut()
        .unwrap()
        .insert("record.json".into(), "{\"version\": 99}".into());
    let actions = cluster.decide();
    assert!(actions.save.is_none() && actions.create.is_empty() && actions.delete.is_empty());
    cluster.apply(&actions, usize::MAX);
    let status = cluster.run.status.clone().unwrap();
    assert_eq!(cluster.condition("Accepted"), "True");
    assert_eq!(status.conditions[5].reason, reason::RECORD_UNREADABLE);
    assert!(
        status.conditions[5].message.contains("version 99"),
        "{}",
        status.conditions[5].message
    );
}
