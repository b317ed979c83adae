//! Whole runs on a fake cluster: crashes after every write, lost Jobs and reports, suspension, corruption, poison shards.

mod edits;
mod failures;
pub(crate) mod fake_cluster;
mod outages;
mod waits;
mod workers;

use std::collections::{BTreeMap, BTreeSet};

use scalequest_crds::v1alpha1::Stage;

use self::fake_cluster::{FakeCluster, run};
use crate::names::Purpose;
use scalequest_core::record::RunRecord;

/// Asserts that two records are equal; shows the first difference.
#[track_caller]
fn assert_same(a: &RunRecord, b: &RunRecord, when: &str) {
    let (a, b) = (a.to_json(), b.to_json());
    let at = a.bytes().zip(b.bytes()).position(|(a, b)| a != b);
    let shown = |text: &str| {
        let from = at.unwrap_or(0).saturating_sub(60);
        text.chars().skip(from).take(160).collect::<String>()
    };
    assert!(a == b, "{when}:\n{}\n{}", shown(&a), shown(&b));
}

fn completed(cluster: &mut FakeCluster) -> RunRecord {
    cluster.until("the end", |cluster| cluster.condition("Complete") == "True");
    cluster.record().expect("a record")
}

/// Returns the record without what depends on the number of attempts.
fn outcome(mut record: RunRecord) -> RunRecord {
    record.usage.clear();
    record.counted = Default::default();
    record.accepted_at_millis = 0;
    record.corruptions.clear();
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
fn finished_run_writes_nothing() {
    let mut cluster = FakeCluster::new(run(""));
    let record = completed(&mut cluster);
    assert!(record.accepted() >= 40 && record.publication.is_some());
    let stages = cluster.computed.iter().collect::<BTreeSet<_>>();
    assert_eq!(
        stages.len(),
        cluster.computed.len(),
        "a shard was computed twice"
    );
    assert!(record.total_usage().worker_millis > 0);
    let actions = cluster.decide();
    cluster.apply(&actions, usize::MAX);
    for _ in 0..3 {
        cluster.now_millis += 10_000;
        let (writes, actions) = (cluster.writes, cluster.decide());
        assert!(
            actions.save.is_none()
                && actions.create.is_empty()
                && actions.delete.is_empty()
                && actions.resize.is_empty()
        );
        cluster.apply(&actions, usize::MAX);
        assert_eq!(cluster.writes, writes, "a write without a change");
    }
}

#[test]
fn stage_has_one_active_job() {
    let mut cluster = FakeCluster::new(run(""));
    for _ in 0..200 {
        let actions = cluster.decide();
        cluster.apply(&actions, usize::MAX);
        let mut live: BTreeMap<String, usize> = BTreeMap::new();
        for job in cluster.owned().jobs.iter().filter(|job| !job.has_ended()) {
            *live.entry(format!("{:?}", job.identity.id)).or_default() += 1;
        }
        assert!(live.values().all(|jobs| *jobs == 1), "{live:?}");
        cluster.work();
        if cluster.condition("Complete") == "True" {
            return;
        }
    }
    panic!("the run does not end");
}

#[test]
fn last_worker_seals_without_extra_job() {
    let mut cluster = FakeCluster::new(run(""));
    completed(&mut cluster);
    let stages: BTreeSet<_> = cluster
        .made
        .iter()
        .filter_map(|work| work.id.clone())
        .collect();
    assert_eq!(cluster.made.len(), 1 + stages.len());
    // In a workspace that others use, what reads no new stage may be there already and is looked for first.
    let mut shared = FakeCluster::new(run(""));
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
    // cluster, unlike a workspace, cannot use.)
    let mut second = FakeCluster::new(run(""));
    second.shards = cluster.shards.clone();
    completed(&mut second);
    let mut again = second
        .made
        .iter()
        .filter(|work| work.purpose == Purpose::Run);
    assert!(again.all(|work| {
        let id = work.id.as_ref().unwrap();
        id.stage == Stage::Publish || id.wave > Some(1)
    }));
}

#[test]
fn seal_jobs_and_large_tasks_keep_outcome() {
    let mut whole = FakeCluster::new(run(""));
    let reference = outcome(completed(&mut whole));
    let mut cluster = FakeCluster::new(run(""));
    cluster.seals_last = false;
    assert_same(
        &outcome(completed(&mut cluster)),
        &reference,
        "sealed by Jobs",
    );
    let sealed = cluster
        .made
        .iter()
        .filter(|work| work.purpose == Purpose::Seal);
    assert!(sealed.count() > 10);
    let mut cluster = FakeCluster::new(run(""));
    cluster.settings.task_in_pod_bytes = 0;
    assert_same(
        &outcome(completed(&mut cluster)),
        &reference,
        "tasks in ConfigMaps",
    );
    assert!(cluster.writes > whole.writes + 10);
}

#[test]
fn usage_is_counted_once() {
    let mut cluster = FakeCluster::new(run(""));
    let record = completed(&mut cluster);
    let lifetimes = cluster
        .pods
        .iter()
        .filter(|pod| pod.identity.stage().is_some())
        .count();
    assert_eq!(
        record.total_usage().worker_millis,
        i64::try_from(lifetimes).unwrap() * 1_000
    );
    cluster.now_millis += 3_600_000;
    let actions = cluster.decide();
    cluster.apply(&actions, usize::MAX);
    assert_eq!(
        cluster.record().unwrap().total_usage().worker_millis,
        record.total_usage().worker_millis
    );
}

#[test]
fn finished_run_expires() {
    let mut cluster = FakeCluster::new(run("  ttlSecondsAfterFinished: 100"));
    completed(&mut cluster);
    assert!(!cluster.decide().delete_run);
    cluster.now_millis += 101_000;
    assert!(cluster.decide().delete_run);
    let mut stopped = FakeCluster::new(run("  ttlSecondsAfterFinished: 100"));
    stopped.run.spec.target.max_waves = Some(1);
    stopped.until("its limit", |cluster| {
        cluster.condition("Progressing") == "False"
    });
    assert!(!stopped.decide().delete_run);
    stopped.now_millis += 101_000;
    assert!(stopped.decide().delete_run);
    let mut working = FakeCluster::new(run("  ttlSecondsAfterFinished: 0"));
    working.until("acceptance", |cluster| {
        cluster.condition("Accepted") == "True"
    });
    assert!(!working.decide().delete_run);
}
