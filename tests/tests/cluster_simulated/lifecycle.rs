//! What happens to a run while it works, in every stage of it: held and let go, its pods evicted, its Jobs deleted, its status wiped, itself
//! deleted and made again, edited. The first worker of each stage waits until that has happened.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, EvictParams, Patch, PatchParams};
use scalequest_crds::v1alpha1::conditions::reason;
use scalequest_crds::v1alpha1::{Stage, SynthesisRun};
use scalequest_tests::kubernetes::Cluster;
use scalequest_tests::kubernetes::api_proxy::Treatment;
use scalequest_tests::kubernetes::namespace::eventually;
use scalequest_tests::kubernetes::simulated_run::{End, NAME, SimulatedRun, is, run, says};
use scalequest_tests::kubernetes::simulated_worker::{FaultPlan, PausedWorker};
use serde_json::json;
use tokio::sync::mpsc;

use crate::{SERVERS, reference};

/// A run to which `act` happens in every stage of it, while a worker is at work there.
async fn in_every_stage(
    purpose: &str,
    act: impl AsyncFn(&SimulatedRun, &PausedWorker),
) -> (SimulatedRun, End) {
    let (sender, mut paused) = mpsc::unbounded_channel();
    let fault_plan = FaultPlan {
        paused: Some(sender),
        ..FaultPlan::default()
    };
    let cluster = Cluster::shared();
    let mut run_on = SimulatedRun::begin(cluster, purpose, Treatment::default(), fault_plan).await;
    run_on.make(run()).await;
    let mut stages = BTreeSet::new();
    loop {
        let ended = |run: &SynthesisRun| is(run, "Complete") || is(run, "Failed");
        tokio::select! {
            Some(worker) = paused.recv() => {
                stages.insert(worker.stage);
                // The first worker may be at work before the run is shown to be accepted.
                run_on.until(|run| is(run, "Accepted")).await;
                act(&run_on, &worker).await;
            }
            _ = run_on.until(ended) => break,
        }
    }
    let end = run_on.complete().await;
    let on_record = reference().await.stages.as_array().cloned();
    let on_record = on_record.unwrap_or_default().into_iter();
    let mut expected: BTreeSet<Stage> = on_record
        .map(|stage| serde_json::from_value(stage["stage"].clone()).expect("a stage"))
        .collect();
    expected.insert(Stage::Publish);
    assert_eq!(stages, expected, "something happened in every stage");
    (run_on, end)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn suspended_run_has_no_pods_and_resumes() {
    let _servers = SERVERS.read().await;
    let (_, end) = in_every_stage("held", async |run, _| {
        run.edit(json!({"spec": {"suspend": true}}))
            .await
            .expect("held");
        run.until(|run| is(run, "Suspended")).await;
        eventually("no pod", || async {
            run.pods_at_work().await.is_empty().then_some(())
        })
        .await;
        eventually("no Job at work", || async {
            run.open_job().await.is_none().then_some(())
        })
        .await;
        run.edit(json!({"spec": {"suspend": false}}))
            .await
            .expect("let go");
    })
    .await;
    assert_eq!(end.outcome(), reference().await.outcome());
    assert!(end.made_once(), "{:?}", end.made);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn evicted_pods_count_as_no_failure() {
    let _servers = SERVERS.read().await;
    let (run, end) = in_every_stage("evicted", async |run, worker| {
        let pods = run.space.api::<Pod>();
        let evicted = pods.evict(&worker.pod, &EvictParams::default()).await;
        evicted.expect("an evicted pod");
    })
    .await;
    assert_eq!(&end, reference().await);
    for job in run.jobs().await {
        let failed = job.status.as_ref().and_then(|status| status.failed);
        assert_eq!(failed.unwrap_or(0), 0, "{}", job.name_any());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn deleted_jobs_are_recreated() {
    let _servers = SERVERS.read().await;
    let (_, end) = in_every_stage("by-hand", async |run, worker| {
        let pod = run
            .space
            .api::<Pod>()
            .get(&worker.pod)
            .await
            .expect("a pod");
        let job = &pod.labels()["batch.kubernetes.io/job-name"];
        let jobs = run.space.api::<Job>();
        let deleted = jobs.delete(job, &DeleteParams::background()).await;
        deleted.expect("a deleted Job");
        // Before that its worker would end its shard, of which nobody would know.
        eventually("its pod is deleted", || async {
            let now = run.space.api::<Pod>().get_opt(&worker.pod).await.ok()?;
            let stays = now.is_some_and(|pod| pod.metadata.deletion_timestamp.is_none());
            (!stays).then_some(())
        })
        .await;
    })
    .await;
    assert_eq!(end.outcome(), reference().await.outcome());
    assert!(end.made_once(), "{:?}", end.made);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn wiped_status_is_restored() {
    let _servers = SERVERS.read().await;
    let (run, end) = in_every_stage("wiped", async |run, _| {
        let wiped = Patch::Merge(json!({"status": null}));
        let runs = run.space.api::<SynthesisRun>();
        let parameters = PatchParams::default();
        let wiped = runs.patch_status(NAME, &parameters, &wiped).await;
        wiped.expect("a wiped status");
        run.until(|run| is(run, "Accepted")).await;
    })
    .await;
    assert_eq!(&end, reference().await);
    let status = run.until(|_| true).await.status.expect("a status");
    let progress = status.progress.expect("progress");
    assert!(progress.accepted >= progress.target, "{progress:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn deleted_run_leaves_nothing_and_is_recreated() {
    let _servers = SERVERS.read().await;
    let (_, end) = in_every_stage("again", async |run_on, _| {
        let before = run_on.owned_objects().await;
        let runs = run_on.space.api::<SynthesisRun>();
        let deleted = runs.delete(NAME, &DeleteParams::background()).await;
        deleted.expect("a deleted run");
        eventually("the run is gone", || async {
            let there = runs.get_opt(NAME).await.ok()?;
            there.is_none().then_some(())
        })
        .await;
        // It is made again while what the former left behind may still be there.
        run_on.make(run()).await;
        eventually("what it left is gone", || async {
            let now = run_on.owned_objects().await;
            now.is_disjoint(&before).then_some(())
        })
        .await;
    })
    .await;
    assert_eq!(end.outcome(), reference().await.outcome());
    assert!(end.made_once(), "{:?}", end.made);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn edits_apply_or_are_rejected() {
    let _servers = SERVERS.read().await;
    let (run, end) = in_every_stage("edited", async |run, _| {
        let refused = run.edit(json!({"spec": {"seed": 4}})).await;
        let sentence = refused.expect_err("a seed is fixed");
        assert!(sentence.contains("spec.seed"), "{sentence}");
        let before = run.until(|_| true).await;
        let was = before.spec.failure_policy.as_ref();
        let percent = was.and_then(|policy| policy.max_failed_shards_percent);
        let policy = json!({"maxFailedShardsPercent": percent.unwrap_or(5) + 1});
        let edited = run.edit(json!({"spec": {"failurePolicy": policy}})).await;
        let generation = edited.expect("an edited run").metadata.generation;
        let seen = run
            .until(|run| {
                let status = run.status.as_ref();
                status.is_some_and(|status| status.observed_generation >= generation)
            })
            .await;
        let observed = seen.status.and_then(|status| status.observed_generation);
        assert!(observed <= seen.metadata.generation);
    })
    .await;
    assert_eq!(
        end.until_publication(),
        reference().await.until_publication()
    );
    let record = run.record().await.expect("a record");
    let percent = &record["spec"]["failurePolicy"]["maxFailedShardsPercent"];
    assert!(percent.as_i64().is_some_and(|percent| percent > 10));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn edit_replaces_unschedulable_job() {
    let _servers = SERVERS.read().await;
    let (treatment, fault_plan) = (Treatment::default(), FaultPlan::default());
    let mut run_on = SimulatedRun::begin(Cluster::shared(), "typo", treatment, fault_plan).await;
    let mut mistyped = run();
    let pods = mistyped["spec"]["pods"].take();
    mistyped["spec"]["pods"] = pods.clone();
    mistyped["spec"]["pods"][0]["nodeSelector"]["zone"] = "tpyo".into();
    run_on.make(mistyped).await;
    let told = |run: &SynthesisRun| says(run, reason::SCHEDULING, "node affinity/selector");
    let waiting = run_on.until(told).await;
    assert!(!is(&waiting, "Degraded"), "it has patience");
    run_on
        .edit(json!({"spec": {"pods": pods}}))
        .await
        .expect("a corrected selector");
    let end = run_on.complete().await;
    assert_eq!(end.outcome(), reference().await.outcome());
    assert!(end.made_once(), "{:?}", end.made);
}
