//! Outages: every kind of failure in every stage, once, for an hour and for a weekend. Whatever the world refuses ends no run; finished work stays
//! and the stage continues with the same seals once the cause is gone.

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::v1alpha1::{Stage, conditions::reason};

use super::fake_cluster::{FailureKind, FakeCluster, Outage, run};
use super::{assert_same, completed, outcome};
use crate::names::{PURPOSE, Purpose, RETRY};
use scalequest_core::record::RunRecord;

/// Failures whose cause is outside of the task and its rows, each with the reason of the condition that names it.
const TRANSIENT: [(FailureKind, &str); 16] = [
    (
        FailureKind::Reports(Cause::AccessDenied, "403"),
        "AccessDenied",
    ),
    (
        FailureKind::Reports(Cause::LocationNotFound, "404"),
        "LocationNotFound",
    ),
    (
        FailureKind::Reports(Cause::StoreUnavailable, "timeout"),
        "StoreUnavailable",
    ),
    (
        FailureKind::Reports(Cause::EndpointUnavailable, "503"),
        "EndpointUnavailable",
    ),
    (
        FailureKind::Reports(Cause::AccessDenied, "EROFS"),
        "AccessDenied",
    ),
    (FailureKind::Reports(Cause::DiskFull, "ENOSPC"), "DiskFull"),
    (
        FailureKind::Reports(Cause::AccessDenied, "EACCES"),
        "AccessDenied",
    ),
    (FailureKind::OutOfMemory, "OutOfMemory"),
    (FailureKind::Exits(1), "WorkerCrashed"),
    (FailureKind::Exits(69), "StoreUnavailable"),
    (FailureKind::Exits(74), "DiskFull"),
    (FailureKind::Exits(128), "WorkerCrashed"),
    (FailureKind::Exits(137), "WorkerCrashed"),
    (FailureKind::Exits(143), "WorkerCrashed"),
    (FailureKind::NeverRuns, "PodRejected"),
    (FailureKind::Evicted, ""),
];

const HOUR: i64 = 3_600_000;
const WEEKEND: i64 = 60 * HOUR;

fn spec() -> scalequest_crds::v1alpha1::SynthesisRun {
    run("  failurePolicy: {maxFailedShardsPercent: 0}")
}

fn reference() -> RunRecord {
    outcome(completed(&mut FakeCluster::new(spec())))
}

/// The stages of the run.
fn stages(reference: &RunRecord) -> Vec<Stage> {
    let stages = reference.stages.iter().map(|stage| stage.id.stage);
    let stages: std::collections::BTreeSet<Stage> = stages.collect();
    stages.into_iter().collect()
}

fn retry(cluster: &mut FakeCluster, value: &str) {
    let annotations = cluster.run.metadata.annotations.get_or_insert_default();
    annotations.insert(RETRY.into(), value.into());
}

fn degraded(cluster: &FakeCluster) -> (String, String) {
    let status = cluster.run.status.clone().unwrap_or_default();
    let degraded = status.conditions.get(5);
    degraded.map_or_else(Default::default, |degraded| {
        (degraded.status.clone(), degraded.reason.clone())
    })
}

/// Runs to the end under an outage; checks the conditions and the attempts while it lasts.
fn survive(stage: Stage, failure: FailureKind, shown: &str, lasts: i64) -> RunRecord {
    let what = format!("{failure:?} in {stage} for {lasts} ms");
    let mut cluster = FakeCluster::new(spec());
    let outage = Outage::new(stage, failure);
    cluster.outage = Some(outage);
    if lasts > 0 {
        cluster.outage.as_mut().unwrap().until_millis = Some(i64::MAX);
    }
    let is_disruption = failure == FailureKind::Evicted;
    for _ in 0..100_000 {
        cluster.step();
        assert_ne!(cluster.condition("Failed"), "True", "{what}");
        if cluster.condition("Complete") == "True" {
            break;
        }
        let now = cluster.now_millis;
        let outage = cluster.outage.as_mut().unwrap();
        let (Some(since), true) = (outage.since_millis, lasts > 0) else {
            continue;
        };
        if outage.until_millis == Some(i64::MAX) {
            outage.until_millis = Some(since + lasts);
        }
        let is_over = now > since + lasts;
        if !is_over && !is_disruption {
            // Four attempts of each shard at most, not one more for as long as it lasts.
            assert!(
                outage.attempts <= 4 * 8,
                "{what}: {} attempts",
                outage.attempts
            );
            if now > since + 60_000 {
                assert_eq!(degraded(&cluster), ("True".into(), shown.into()), "{what}");
                assert_eq!(
                    cluster.run.status.as_ref().unwrap().phase.as_deref(),
                    Some("Blocked")
                );
            }
        }
        if is_over {
            retry(&mut cluster, "the cause is gone");
        }
    }
    assert_eq!(
        cluster.condition("Complete"),
        "True",
        "{what}: {:#?}",
        cluster.run.status
    );
    let record = cluster.record().unwrap();
    assert!(
        record.blocked.is_empty() && record.failed_shards.is_empty(),
        "{what}"
    );
    record
}

#[test]
fn transient_failures_end_no_run() {
    let reference = reference();
    let stages = stages(&reference);
    let in_stage = |stage: Stage| {
        for (failure, shown) in TRANSIENT {
            for lasts in [0, HOUR, WEEKEND] {
                // An eviction takes a second here, and ten of them are no failure either.
                let lasts = match failure {
                    FailureKind::Evicted => lasts.min(20_000),
                    _ => lasts,
                };
                let record = survive(stage, failure, shown, lasts);
                let what = format!("{failure:?} in {stage} for {lasts} ms");
                assert_same(&outcome(record), &reference, &what);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    let share = stages.len().div_ceil(threads);
    std::thread::scope(|scope| {
        for stages in stages.chunks(share) {
            scope.spawn(|| stages.iter().for_each(|stage| in_stage(*stage)));
        }
    });
}

#[test]
fn permanent_failure_is_left_by_annotation() {
    let reference = reference();
    for stage in stages(&reference) {
        let mut cluster = FakeCluster::new(spec());
        cluster.outage = Some(Outage::new(stage, FailureKind::Exits(64)));
        cluster.outage.as_mut().unwrap().until_millis = Some(i64::MAX);
        cluster.until("the failure", |cluster| {
            cluster.condition("Failed") == "True"
        });
        cluster.outage = None;
        retry(&mut cluster, "1");
        assert_same(&outcome(completed(&mut cluster)), &reference, stage.slug());
    }
}

#[test]
fn failed_shards_end_run_beyond_policy() {
    let reference = reference();
    for stage in stages(&reference) {
        let mut cluster = FakeCluster::new(spec());
        cluster.outage = Some(Outage::new(stage, FailureKind::Exits(65)));
        cluster.outage.as_mut().unwrap().until_millis = Some(i64::MAX);
        cluster.until("the failure", |cluster| {
            cluster.condition("Failed") == "True"
        });
        let failed = cluster.record().unwrap().failed.unwrap();
        assert_eq!(
            failed.failure.reason,
            reason::TOO_MANY_FAILED_SHARDS,
            "{stage}"
        );
        cluster.outage = None;
        retry(&mut cluster, "1");
        assert_same(&outcome(completed(&mut cluster)), &reference, stage.slug());
    }
}

#[test]
fn blocked_stage_has_no_job_but_its_probe() {
    let gpu = "  pods: [{name: gpu, stages: [Respond], resources: {limits: {nvidia.com/gpu: 1}}}]";
    let mut cluster = FakeCluster::new(run(gpu));
    let denied = FailureKind::Reports(Cause::AccessDenied, "the key was revoked");
    cluster.outage = Some(Outage::new(Stage::Respond, denied));
    cluster.outage.as_mut().unwrap().until_millis = Some(i64::MAX);
    let is_blocked = |cluster: &FakeCluster| {
        let status = cluster.run.status.as_ref();
        status.is_some_and(|status| status.phase.as_deref() == Some("Blocked"))
    };
    cluster.until("the block", is_blocked);
    let made = cluster.made.len();
    let (since, before) = (cluster.now_millis, cluster.writes);
    while cluster.now_millis < since + 24 * HOUR {
        cluster.step();
        let active = cluster.owned().jobs;
        let mut active = active.iter().filter(|job| job.is_active());
        assert!(active.all(|job| job.identity.purpose == Purpose::Probe));
        assert!(is_blocked(&cluster), "{:#?}", cluster.run.status);
    }
    let probes = cluster.made[made..].len();
    // A day of pauses of eight to ten minutes, after the first few; each probe is a Job, a save and a status.
    assert!((140..200).contains(&probes), "{probes} probes");
    assert!(cluster.writes - before <= 3 * probes + 10);
    let is_probe = |job: &&Job| job.labels()[PURPOSE] == "probe";
    let probe = cluster.jobs.values().find(is_probe).expect("a probe");
    let text = serde_json::to_string(probe).unwrap();
    assert!(!text.contains("nvidia.com/gpu") && text.contains("\"args\":[\"probe\""));
    // A restarted operator knows nothing but what is in the cluster.
    cluster.settings.started_at_millis = cluster.now_millis;
    cluster.outage = None;
    completed(&mut cluster);
}

#[test]
fn edit_retries_blocked_stage_at_once() {
    let mut cluster = FakeCluster::new(spec());
    cluster.outage = Some(Outage::new(Stage::Judge, FailureKind::OutOfMemory));
    cluster.outage.as_mut().unwrap().until_millis = Some(i64::MAX);
    cluster.until("the block", |cluster| degraded(cluster).1 == "OutOfMemory");
    cluster.until("the phase", |cluster| {
        cluster.run.status.as_ref().unwrap().phase.as_deref() == Some("Blocked")
    });
    let made = cluster.made.len();
    for _ in 0..20 {
        cluster.step();
    }
    assert_eq!(cluster.made.len(), made, "a cause without a probe waits");
    cluster.outage = None;
    cluster.run.spec.service_account_name = Some("team".into());
    assert!(completed(&mut cluster).blocked.is_empty());
}

#[test]
fn suspended_run_keeps_its_block() {
    let mut cluster = FakeCluster::new(spec());
    let full = FailureKind::Reports(Cause::DiskFull, "no space left on device");
    cluster.outage = Some(Outage::new(Stage::Judge, full));
    cluster.outage.as_mut().unwrap().until_millis = Some(i64::MAX);
    cluster.until("a probe", |cluster| {
        cluster
            .made
            .iter()
            .any(|made| made.purpose == Purpose::Probe)
    });
    cluster.run.spec.suspend = true;
    let made = cluster.made.len();
    for _ in 0..20 {
        cluster.step();
    }
    assert_eq!(cluster.made.len(), made, "a suspended run starts no probe");
    assert!(cluster.owned().jobs.iter().all(|job| !job.is_active()));
    cluster.run.spec.suspend = false;
    cluster.outage = None;
    assert!(completed(&mut cluster).blocked.is_empty());
}

#[test]
fn restart_spreads_probes_of_blocked_runs() {
    let blocked = |number: i64| {
        let mut cluster = FakeCluster::new(spec());
        cluster.now_millis += number;
        let denied = FailureKind::Reports(Cause::StoreUnavailable, "timeout");
        cluster.outage = Some(Outage::new(Stage::Qft, denied));
        cluster.outage.as_mut().unwrap().until_millis = Some(i64::MAX);
        cluster.until("three probes", |cluster| {
            let probes = cluster.made.iter();
            probes.filter(|made| made.purpose == Purpose::Probe).count() == 3
        });
        cluster
    };
    // The operator was away for a day, so all probes are overdue.
    let restarted_at = 1_000_000 + 24 * HOUR;
    let first_probe = |number: i64| {
        let mut cluster = blocked(number);
        cluster.settings.started_at_millis = restarted_at;
        cluster.now_millis = restarted_at;
        let made = cluster.made.len();
        while cluster.made.len() == made {
            cluster.step();
        }
        cluster.now_millis - restarted_at
    };
    let starts: Vec<i64> = (0..200).map(first_probe).collect();
    let last = *starts.iter().max().unwrap();
    let busiest = (0..=last / 1_000).map(|second| {
        let in_second = starts.iter().filter(|start| **start / 1_000 == second);
        in_second.count()
    });
    let busiest = busiest.max().unwrap();
    assert!(
        last > 40_000 && busiest <= 20,
        "{busiest} in a second of {last} ms"
    );
}
