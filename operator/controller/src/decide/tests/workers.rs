//! Workers that fail, report garbage, or are not counted yet.

use std::collections::BTreeSet;

use scalequest_crds::v1alpha1::Stage;
use scalequest_crds::v1alpha1::conditions::reason;

use super::fake_cluster::{FakeCluster, run};
use super::{assert_same, completed, outcome};
use crate::names::{Purpose, RETRY};
use crate::observe::termination::TerminationMessage;

#[test]
fn failed_shards_follow_failure_policy() {
    let poisoned = |percent: i32| {
        let mut cluster = FakeCluster::new(run(&format!(
            "  failurePolicy: {{maxFailedShardsPercent: {percent}}}"
        )));
        cluster.poison.insert(Stage::Respond, BTreeSet::from([0]));
        cluster
    };
    let mut cluster = poisoned(100);
    cluster.until("the degradation", |cluster| {
        cluster.condition("Degraded") == "True"
    });
    let record = completed(&mut cluster);
    assert!(record.failed_shards_total >= 1);
    assert!(
        record.failed_shards[0].message.contains("cannot be read"),
        "{:?}",
        record.failed_shards
    );
    // The report of a complete run says what failed.
    assert_eq!(cluster.condition("Degraded"), "False");

    let mut cluster = poisoned(5);
    cluster.until("the failure", |cluster| {
        cluster.condition("Failed") == "True"
    });
    let failed = cluster.record().unwrap().failed.unwrap();
    assert_eq!(failed.failure.reason, reason::TOO_MANY_FAILED_SHARDS);
    // What showed it is gone; the end stays the end.
    cluster.jobs.clear();
    cluster.pods.clear();
    let actions = cluster.decide();
    assert!(actions.create.is_empty());
    cluster.apply(&actions, usize::MAX);
    assert_eq!(
        (cluster.condition("Failed"), cluster.condition("Complete")),
        ("True".into(), "False".into())
    );
}

#[test]
fn edit_or_annotation_leaves_failure() {
    let mut whole = FakeCluster::new(run("  failurePolicy: {maxFailedShardsPercent: 5}"));
    let reference = outcome(completed(&mut whole));
    let failed = || {
        let mut cluster = FakeCluster::new(run("  failurePolicy: {maxFailedShardsPercent: 5}"));
        cluster.poison.insert(Stage::Respond, BTreeSet::from([0]));
        cluster.until("the failure", |cluster| {
            cluster.condition("Failed") == "True"
        });
        let made = cluster.made.len();
        for _ in 0..3 {
            let actions = cluster.decide();
            cluster.apply(&actions, usize::MAX);
            cluster.work();
        }
        assert_eq!(cluster.made.len(), made, "a failed run starts nothing");
        cluster
    };
    // The rows were corrected, and a user says so.
    let mut cluster = failed();
    cluster.poison.clear();
    let annotations = cluster.run.metadata.annotations.get_or_insert_default();
    annotations.insert(RETRY.into(), "1".into());
    let record = completed(&mut cluster);
    assert_eq!(record.failed_shards_total, 0);
    assert_same(&outcome(record), &reference, "after the annotation");
    // The failed shard is accepted.
    let mut cluster = failed();
    let policy = cluster.run.spec.failure_policy.as_mut().unwrap();
    policy.max_failed_shards_percent = Some(100);
    let record = completed(&mut cluster);
    assert!(record.failed_shards_total >= 1 && record.failed.is_none());
}

#[test]
fn corrupt_output_is_recomputed() {
    let mut whole = FakeCluster::new(run(""));
    let reference = outcome(completed(&mut whole));
    for stage in [
        Stage::Sample,
        Stage::Generate,
        Stage::Filter,
        Stage::Judge,
        Stage::Respond,
    ] {
        let mut cluster = FakeCluster::new(run(""));
        cluster.corruption.insert(stage);
        let record = completed(&mut cluster);
        assert!(
            record
                .corruptions
                .iter()
                .any(|corruption| corruption.times == 1 && !corruption.open),
            "{stage}: {:?}",
            record.corruptions
        );
        assert_same(&outcome(record), &reference, stage.slug());
    }
}

#[test]
fn ended_worker_keeps_stage_running() {
    let mut cluster = FakeCluster::new(run(""));
    cluster.until("a stage's Job", |cluster| {
        let last = cluster.made.last();
        last.is_some_and(|work| work.purpose == Purpose::Run)
    });
    cluster.work();
    for job in cluster.jobs.values_mut() {
        job.status = None;
    }
    // What its worker said is not there yet either.
    for end in cluster
        .pods
        .iter_mut()
        .filter_map(|pod| pod.termination.as_mut())
    {
        end.message = TerminationMessage::LogTail(String::new());
    }
    let actions = cluster.decide();
    cluster.apply(&actions, usize::MAX);
    let status = cluster.run.status.as_ref().expect("a status");
    let mut at_work = status.stages.iter().filter(|stage| stage.job.is_some());
    let stage = at_work.next().expect("a stage with a Job");
    assert_eq!((stage.state.as_str(), stage.shards.active), ("Running", 0));
}

#[test]
fn invalid_reports_are_ignored() {
    use crate::observe::pod::ObservedPod;
    use crate::observe::termination::TerminationMessage;
    use scalequest_crds::protocol::report::Outcome;
    let mut cluster = FakeCluster::new(run(""));
    let has_sealed = |pod: &ObservedPod| {
        let report = pod
            .termination
            .as_ref()
            .and_then(|end| end.report(&pod.identity.key));
        report.is_some_and(|report| matches!(report.outcome, Outcome::Sealed { .. }))
    };
    cluster.until("a seal to be read", |cluster| {
        cluster.pods.iter().any(has_sealed)
    });
    let before = cluster.record().unwrap();
    let good = cluster.pods.clone();
    let spoil: [fn(&mut scalequest_crds::protocol::report::StageReport); 4] = [
        |report| report.key = "f".repeat(64),
        |report| report.shard = Some(3),
        |report| report.outcome = scalequest_crds::protocol::report::Outcome::Stopped,
        |report| report.outcome = scalequest_crds::protocol::report::Outcome::Done { reused: true },
    ];
    for spoil in spoil {
        cluster.pods = good.clone();
        for pod in &mut cluster.pods {
            let said = pod.termination.as_mut().map(|end| &mut end.message);
            if let Some(TerminationMessage::Report(report)) = said {
                spoil(report);
            }
        }
        let actions = cluster.decide();
        let after = actions.save.map_or(before.clone(), |save| save.record);
        assert!(after.failed.is_none() && after.stages.iter().all(|stage| stage.seal.is_none()));
        assert!(
            actions.create.iter().all(|each| each.job.is_some()),
            "it is sealed again"
        );
    }
}
