//! Failures whose cause is outside of a run: each kind once in a stage of each kind, and outages that last until a condition names them. All of these
//! runs complete with the outcome of an undisturbed one.

use futures::StreamExt;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::v1alpha1::{Stage, SynthesisRun};
use scalequest_tests::kubernetes::Cluster;
use scalequest_tests::kubernetes::api_proxy::Treatment;
use scalequest_tests::kubernetes::namespace::eventually_within;
use scalequest_tests::kubernetes::simulated::PodEnd;
use scalequest_tests::kubernetes::simulated_run::{End, SimulatedRun, TIMEOUT, is, run, says};
use scalequest_tests::kubernetes::simulated_worker::{Failure, FaultPlan};
use serde_json::json;

use crate::{SERVERS, reference};

/// Every kind of failure that ends no run.
const FAILURES: [Failure; 15] = [
    Failure::Reports(Cause::AccessDenied),
    Failure::Reports(Cause::LocationNotFound),
    Failure::Reports(Cause::StoreUnavailable),
    Failure::Reports(Cause::EndpointUnavailable),
    Failure::Reports(Cause::DiskFull),
    Failure::Reports(Cause::StartFailed),
    Failure::Exits(1),
    Failure::Exits(69),
    Failure::Exits(74),
    Failure::Exits(128),
    Failure::Exits(137),
    Failure::Exits(143),
    Failure::Ended(PodEnd::OutOfMemory),
    Failure::Ended(PodEnd::Refused),
    Failure::Ended(PodEnd::Evicted),
];

/// A stage of each kind: one that trains, one that works row by row, one that asks a model, one that publishes.
const STAGES: [Stage; 4] = [Stage::Qft, Stage::Filter, Stage::Respond, Stage::Publish];

/// Runs that are disturbed at the same time.
const CONCURRENT: usize = 5;

async fn begin(purpose: &str, fault_plan: FaultPlan) -> SimulatedRun {
    SimulatedRun::begin(Cluster::shared(), purpose, Treatment::default(), fault_plan).await
}

/// A run in which the first worker of each of [`STAGES`] fails.
async fn failing_once(failure: Failure) -> End {
    let fault_plan = FaultPlan {
        failures: STAGES.map(|stage| (stage, failure)).into(),
        ..FaultPlan::default()
    };
    let mut failing = begin("failing", fault_plan).await;
    failing.make(run()).await;
    let end = failing.complete().await;
    let record = failing.record().await.expect("a record");
    assert!(record["blocked"].is_null(), "{failure:?}: {record}");
    assert!(record["failedShardsTotal"].as_i64().unwrap_or(0) == 0);
    end
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn every_failure_in_every_kind_of_stage() {
    let _servers = SERVERS.read().await;
    let runs = futures::stream::iter(FAILURES).map(|failure| async move {
        let end = tokio::spawn(failing_once(failure)).await;
        (failure, end)
    });
    let ends: Vec<_> = runs.buffer_unordered(CONCURRENT).collect().await;
    for (failure, end) in ends {
        let end = end.unwrap_or_else(|error| panic!("{failure:?}: {error}"));
        assert_eq!(end.outcome(), reference().await.outcome(), "{failure:?}");
        assert!(end.made_once(), "{failure:?}: {:?}", end.made);
    }
}

fn label<'a>(job: &'a Job, name: &str) -> &'a str {
    let label = job.labels().get(&format!("scalequest.dev/{name}"));
    label.map_or("", String::as_str)
}

/// A run one of whose stages something outside of it fails until the status says so.
async fn outage(stage: Stage, cause: Cause) -> End {
    let fault_plan = FaultPlan {
        outage: Some((stage, cause)),
        ..FaultPlan::default()
    };
    let mut refused = begin("outage", fault_plan).await;
    refused.make(run()).await;
    let words = format!("the world refuses stage {stage}");
    let is_blocked = |run: &SynthesisRun| {
        let phase = run.status.as_ref().and_then(|status| status.phase.clone());
        says(run, cause.reason(), &words) && phase.as_deref() == Some("Blocked")
    };
    let run = refused.until(is_blocked).await;
    assert!(!is(&run, "Failed") && !is(&run, "Progressing"));
    // Its pods are released, and nothing but probes is made while it lasts.
    eventually_within(TIMEOUT, "a probe that failed", || async {
        let jobs = refused.jobs().await;
        let mut of_stage = jobs
            .iter()
            .filter(|job| label(job, "stage") == stage.slug());
        let record = refused.record().await?;
        let failures = record["blocked"][0]["failures"].as_i64();
        let has_probes_only = of_stage.all(|job| label(job, "purpose") == "probe");
        (failures >= Some(1) && has_probes_only).then_some(())
    })
    .await;
    refused.store.end_outage();
    let end = refused.complete().await;
    let run = refused.until(|run| is(run, "Complete")).await;
    assert!(!is(&run, "Degraded"), "{:?}", run.status);
    end
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn outages_block_until_a_probe_succeeds() {
    let _servers = SERVERS.read().await;
    let outages = [
        (Stage::Qft, Cause::AccessDenied),
        (Stage::Generate, Cause::LocationNotFound),
        (Stage::Filter, Cause::DiskFull),
        (Stage::Respond, Cause::EndpointUnavailable),
        (Stage::Publish, Cause::StoreUnavailable),
    ];
    let ends = outages.map(|(stage, cause)| tokio::spawn(outage(stage, cause)));
    for (end, (stage, _)) in ends.into_iter().zip(outages) {
        let end = end.await.unwrap_or_else(|error| panic!("{stage}: {error}"));
        assert_eq!(end.outcome(), reference().await.outcome(), "{stage}");
        assert!(end.made_once(), "{stage}: {:?}", end.made);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn annotation_retries_what_no_probe_can_check() {
    let _servers = SERVERS.read().await;
    let fault_plan = FaultPlan {
        outage: Some((Stage::Respond, Cause::OutOfMemory)),
        ..FaultPlan::default()
    };
    let mut blocked = begin("annotated", fault_plan).await;
    blocked.make(run()).await;
    let is_blocked = |run: &SynthesisRun| {
        let phase = run.status.as_ref().and_then(|status| status.phase.clone());
        phase.as_deref() == Some("Blocked")
    };
    let run = blocked.until(is_blocked).await;
    assert!(says(&run, "OutOfMemory", "scalequest.dev/retry"));
    blocked.quiet().await;
    assert!(blocked.pods_at_work().await.is_empty());
    // Another operator knows nothing but what the cluster holds.
    blocked.operator.kill();
    blocked.operator.start_again();
    blocked.store.end_outage();
    blocked.quiet().await;
    assert!(is_blocked(&blocked.until(|_| true).await));
    let annotation = json!({"metadata": {"annotations": {"scalequest.dev/retry": "1"}}});
    blocked.edit(annotation).await.expect("an annotation");
    let end = blocked.complete().await;
    assert_eq!(end.outcome(), reference().await.outcome());
}
