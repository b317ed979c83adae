//! Where a run is stopped short or shards are given up: waves, deadlines, poison, lost reports; and runs beside it that are broken, or
//! somebody else's.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::batch::v1::Job;
use scalequest_crds::v1alpha1::conditions::reason;
use scalequest_crds::v1alpha1::{Stage, SynthesisRun};
use scalequest_tests::kubernetes::Cluster;
use scalequest_tests::kubernetes::api_proxy::Treatment;
use scalequest_tests::kubernetes::simulated_run::{
    NAME, SimulatedRun, is, run, run_in_pieces, says,
};
use scalequest_tests::kubernetes::simulated_worker::{FaultPlan, PausedWorker};
use serde_json::json;
use tokio::sync::mpsc;

use crate::{SERVERS, reference};

async fn begin(purpose: &str, fault_plan: FaultPlan) -> SimulatedRun {
    SimulatedRun::begin(Cluster::shared(), purpose, Treatment::default(), fault_plan).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn lost_seal_reports_are_requested_again() {
    let _servers = SERVERS.read().await;
    let fault_plan = FaultPlan {
        loses_seals: true,
        ..FaultPlan::default()
    };
    let mut lost = begin("lost", fault_plan).await;
    lost.make(run()).await;
    let end = lost.complete().await;
    assert_eq!(end.outcome(), reference().await.outcome());
    assert!(end.made_once(), "{:?}", end.made);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn poison_shards_fail_and_parallelism_changes() {
    let _servers = SERVERS.read().await;
    let (sender, mut paused) = mpsc::unbounded_channel();
    let fault_plan = FaultPlan {
        poison: BTreeMap::from([(Stage::Rewrite, BTreeSet::from([1]))]),
        paused: Some(sender),
        ..FaultPlan::default()
    };
    let mut poisoned = begin("poison", fault_plan).await;
    let mut manifest = run_in_pieces();
    manifest["spec"]["failurePolicy"] = json!({"maxFailedShardsPercent": 60});
    poisoned.make(manifest).await;
    let is_one_of_several =
        |worker: &PausedWorker| worker.stage == Stage::Rewrite && worker.shards > 1;
    let what = "at one of several shards of Rewrite";
    let worker = poisoned.worker(&mut paused, what, is_one_of_several).await;
    let pods = poisoned.until(|_| true).await.spec.pods;
    let mut pods = serde_json::to_value(pods).expect("JSON");
    pods[0]["parallelism"] = 2.into();
    let edited = poisoned.edit(json!({"spec": {"pods": pods}})).await;
    edited.expect("an edited run");
    let name = worker.pod.rsplitn(3, '-').nth(2).unwrap_or_default();
    let has_two = |job: &Job| {
        let spec = job.spec.as_ref();
        spec.is_some_and(|spec| spec.parallelism == Some(2) && spec.completions > Some(1))
    };
    poisoned.space.wait_for::<Job>(name, has_two).await;
    drop(worker);
    drop(paused);
    let told = |run: &SynthesisRun| says(run, reason::SHARDS_FAILED, "cannot be read");
    poisoned.until(told).await;
    poisoned.complete().await;
    let record = poisoned.record().await.expect("a record");
    assert!(record["failedShardsTotal"].as_i64() >= Some(1), "{record}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn too_many_failed_shards_fail_the_run() {
    let _servers = SERVERS.read().await;
    let fault_plan = FaultPlan {
        poison: BTreeMap::from([(Stage::Respond, BTreeSet::from([0]))]),
        ..FaultPlan::default()
    };
    let poisoned = begin("fails", fault_plan).await;
    let mut manifest = run();
    manifest["spec"]["failurePolicy"] = json!({"maxFailedShardsPercent": 0});
    poisoned.make(manifest).await;
    let failed = poisoned.until(|run| is(run, "Failed")).await;
    assert!(
        says(&failed, reason::TOO_MANY_FAILED_SHARDS, "cannot be read"),
        "{:?}",
        failed.status
    );
    poisoned.quiet().await;
    let after = poisoned.until(|_| true).await;
    assert!(is(&after, "Failed") && !is(&after, "Complete"));
    assert!(poisoned.pods_at_work().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn raised_limits_resume_an_incomplete_run() {
    let _servers = SERVERS.read().await;
    let mut limited = begin("limits", FaultPlan::default()).await;
    let mut manifest = run();
    manifest["spec"]["target"] = json!({"examples": 60, "maxWaves": 1});
    manifest["spec"]["budget"] = json!({"deadlineSeconds": 1});
    limited.make(manifest).await;
    let stopped = |run: &SynthesisRun| says(run, reason::BUDGET_EXHAUSTED, "deadlineSeconds (1)");
    let run = limited.until(stopped).await;
    assert!(!is(&run, "Complete") && !is(&run, "Failed"));
    limited.quiet().await;
    assert!(limited.pods_at_work().await.is_empty());

    let raised = json!({"spec": {"budget": {"deadlineSeconds": 100_000}}});
    limited.edit(raised).await.expect("a raised limit");
    let stopped = |run: &SynthesisRun| says(run, reason::MAX_WAVES_REACHED, "");
    let run = limited.until(stopped).await;
    assert!(!is(&run, "Complete") && !is(&run, "Failed"));
    limited.quiet().await;
    let record = limited.record().await.expect("a record");
    let short = record["publication"]["digest"].clone();
    assert!(
        short.is_string(),
        "what was accepted is published: {record}"
    );
    assert_eq!(record["waves"].as_array().map(Vec::len), Some(1));

    let raised = json!({"spec": {"target": {"maxWaves": 20}}});
    limited.edit(raised).await.expect("a raised limit");
    let end = limited.complete().await;
    assert_ne!(end.publication, short);
    let lowered = limited
        .edit(json!({"spec": {"target": {"examples": 1}}}))
        .await;
    let sentence = lowered.expect_err("a target only grows");
    assert!(sentence.contains("target"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn raised_target_adds_waves() {
    let _servers = SERVERS.read().await;
    let mut grown = begin("grown", FaultPlan::default()).await;
    grown.make(run()).await;
    let first = grown.complete().await;
    // Complete is final, so it grows before that: in a run of its own that is held at its end.
    drop(grown);
    let (sender, mut paused) = mpsc::unbounded_channel();
    let fault_plan = FaultPlan {
        paused: Some(sender),
        ..FaultPlan::default()
    };
    let mut grown = begin("grown", fault_plan).await;
    grown.make(run()).await;
    let is_late = |worker: &PausedWorker| matches!(worker.stage, Stage::Verify | Stage::Reward);
    let worker = grown
        .worker(&mut paused, "at the end of a wave", is_late)
        .await;
    let more = json!({"spec": {"target": {"examples": 40}}});
    grown.edit(more).await.expect("a target that grows");
    drop(worker);
    drop(paused);
    let end = grown.complete().await;
    let waves = |end: &scalequest_tests::kubernetes::simulated_run::End| {
        end.waves.as_array().cloned().unwrap_or_default()
    };
    let (before, after) = (waves(&first), waves(&end));
    assert!(after.len() > before.len(), "{after:?}");
    assert_eq!(after[0], before[0], "the first wave is as it was");
    assert!(end.made_once(), "{:?}", end.made);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn broken_and_foreign_runs_block_nobody() {
    let _servers = SERVERS.read().await;
    let mut beside = begin("beside", FaultPlan::default()).await;
    let mut foreign = run();
    foreign["metadata"]["name"] = "foreign".into();
    foreign["spec"]["managedBy"] = "kueue.x-k8s.io/multikueue".into();
    beside.make(foreign).await;
    // The schema cannot see that a stage is placed twice; names and texts are as long as they may be.
    let mut broken = run();
    let name = "b".repeat(40);
    broken["metadata"]["name"] = name.clone().into();
    broken["metadata"]["annotations"] = json!({"note": "\u{202e}\u{1f4a5}".repeat(10_000)});
    let mut again = broken["spec"]["pods"][0].clone();
    again["name"] = "again".into();
    broken["spec"]["pods"]
        .as_array_mut()
        .expect("pods")
        .push(again);
    beside.make(broken).await;
    beside.make(run()).await;
    assert_eq!(&beside.complete().await, reference().await);

    let runs = beside.space.api::<SynthesisRun>();
    let foreign = runs.get("foreign").await.expect("a run");
    let untouched = foreign.status.is_none() && foreign.metadata.generation == Some(1);
    assert!(untouched, "{:?}", foreign.status);
    let refused = |run: &SynthesisRun| says(run, reason::INVALID, "spec.pods");
    beside.space.wait_for::<SynthesisRun>(&name, refused).await;
    let owners = beside.jobs().await;
    let of_ours = |job: &Job| {
        let owner = job.metadata.owner_references.iter().flatten().next();
        owner.is_some_and(|owner| owner.name == NAME)
    };
    assert!(owners.iter().all(of_ours));
}
