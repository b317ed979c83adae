//! What pods wait for: the condition Waiting at once, Degraded once the patience with the cause is over.

use std::time::Duration;

use scalequest_crds::v1alpha1::conditions::reason;

use super::fake_cluster::{FakeCluster, run};
use crate::decide::waits::{of_rejections, patience_millis, reason_of};
use crate::observe::object_events::ObjectEvents;
use crate::observe::waiting::WaitCause;
use crate::settings::Patience;

const MESSAGE: &str = "Insufficient nvidia.com/gpu";

/// A run at its first stage, whose pods wait for `cause`.
fn waiting(cause: WaitCause) -> FakeCluster {
    let mut cluster = FakeCluster::new(run(""));
    cluster.until("acceptance", |cluster| {
        cluster.condition("Accepted") == "True"
    });
    cluster.reconcile_only();
    cluster.add_waiting_pods(cause, MESSAGE);
    cluster
}

/// Lets requeues pass until `millis` have.
fn pass(cluster: &mut FakeCluster, millis: i64) {
    let until = cluster.now_millis + millis;
    while cluster.now_millis < until {
        let requeue = cluster.reconcile_only();
        assert!(requeue >= Duration::from_millis(500), "a hot loop");
        let requeue = i64::try_from(requeue.as_millis()).unwrap();
        cluster.now_millis += requeue.min(until - cluster.now_millis);
    }
    cluster.reconcile_only();
}

#[test]
fn waits_degrade_after_patience() {
    let patience = Patience::default();
    for cause in [
        WaitCause::Scheduling,
        WaitCause::ImagePull,
        WaitCause::Autoscaling,
    ] {
        let mut cluster = waiting(cause);
        pass(&mut cluster, 25_000);
        assert_eq!(cluster.condition("Waiting"), "False", "{cause:?}");
        pass(&mut cluster, 10_000);
        let (status, reason, message) = cluster.condition_fields("Waiting");
        assert_eq!(
            (status.as_str(), Some(&*reason)),
            ("True", reason_of(cause))
        );
        assert!(message.contains(MESSAGE), "{message}");
        pass(&mut cluster, patience_millis(&patience, cause) - 60_000);
        assert_eq!(cluster.condition("Degraded"), "False", "{cause:?}");
        let writes = cluster.writes;
        pass(&mut cluster, 60_000);
        let (status, reason, _) = cluster.condition_fields("Degraded");
        assert_eq!(
            (status.as_str(), reason.as_str()),
            ("True", reason::PODS_WAITING)
        );
        pass(&mut cluster, 3_600_000);
        assert_eq!(cluster.condition("Degraded"), "True", "{cause:?}");
        assert_eq!(cluster.writes, writes + 1, "one write says so");
    }
}

#[test]
fn running_pods_leave_waits_undegraded() {
    let mut cluster = waiting(WaitCause::Scheduling);
    cluster.start_pods();
    pass(&mut cluster, 24 * 3_600_000);
    assert_eq!(cluster.condition("Waiting"), "True");
    assert_eq!(cluster.condition("Degraded"), "False");
}

#[test]
fn what_needs_correction_degrades_at_once() {
    let mut cluster = waiting(WaitCause::Correction);
    pass(&mut cluster, 40_000);
    assert_eq!(cluster.condition("Waiting"), "False");
    assert_eq!(cluster.condition("Degraded"), "True");
}

#[test]
fn events_name_quota_and_autoscaling() {
    let mut cluster = waiting(WaitCause::Scheduling);
    let pod = cluster.pods.last().unwrap().uid.clone();
    let scaling = ObjectEvents {
        is_scaling: true,
        ..ObjectEvents::default()
    };
    cluster.events.insert(pod, scaling);
    pass(&mut cluster, 40_000);
    assert_eq!(cluster.condition_fields("Waiting").1, reason::AUTOSCALING);

    cluster.pods.clear();
    let jobs = cluster.owned().jobs;
    let job = jobs.iter().find(|job| job.is_active()).expect("a Job");
    let refused = |pod: &str| ObjectEvents {
        warning: Some(format!(
            "Error creating: pods \"{pod}\" is forbidden: exceeded quota: team, requested: cpu=1, used: cpu=4, limited: cpu=4"
        )),
        ..ObjectEvents::default()
    };
    cluster.events.insert(job.uid.clone(), refused("a-0-x1"));
    pass(&mut cluster, 40_000);
    let (_, reason, message) = cluster.condition_fields("Waiting");
    assert_eq!(reason, reason::QUOTA);
    assert!(message.contains("exceeded quota: team"), "{message}");
    let writes = cluster.writes;
    cluster.events.insert(job.uid.clone(), refused("a-0-x2"));
    pass(&mut cluster, 40_000);
    assert_eq!(cluster.writes, writes, "the name of the pod is no change");
}

#[test]
fn suspended_jobs_wait_for_their_queue() {
    for (queue, words) in [
        ("  queueName: team-a", "waits for queue team-a"),
        ("", "not by the operator"),
    ] {
        let mut cluster = FakeCluster::new(run(queue));
        cluster.reconcile_only();
        for job in cluster.jobs.values_mut() {
            job.spec.as_mut().unwrap().suspend = Some(true);
        }
        pass(&mut cluster, 40_000);
        let (status, reason, message) = cluster.condition_fields("Waiting");
        assert_eq!((status.as_str(), reason.as_str()), ("True", reason::QUEUE));
        assert!(message.contains(words), "{message}");
        assert_eq!(cluster.condition("Degraded"), "False");
    }
}

#[test]
fn rejected_requests_are_classified() {
    let messages = [
        "the API server rejected the request to create Job a: exceeded quota: jobs".to_string(),
        "the API server rejected the request to create Job b: denied by policy".to_string(),
    ];
    let found = of_rejections(&messages, &[], &Patience::default(), 1_000);
    assert_eq!(found.wait.map(|wait| wait.reason), Some(reason::QUOTA));
    let reasons: Vec<_> = found.degradations.iter().map(|each| each.reason).collect();
    assert_eq!(reasons, [reason::API_REQUEST_REJECTED]);

    let mut cluster = waiting(WaitCause::Quota);
    pass(&mut cluster, 40_000);
    let conditions = cluster.run.status.clone().unwrap_or_default().conditions;
    let later =
        cluster.now_millis + patience_millis(&Patience::default(), WaitCause::Quota) + 1_000;
    let found = of_rejections(&messages[..1], &conditions, &Patience::default(), later);
    assert_eq!(found.degradations[0].reason, reason::PODS_WAITING);
}
