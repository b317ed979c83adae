//! A node is gone for good while a worker is at work on it: in every stage of a run, each in a run of its own on nodes of its own, all at once,
//! since Kubernetes takes most of a minute to give up the pods of a node that is deleted.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use scalequest_crds::v1alpha1::{Stage, SynthesisRun};
use scalequest_tests::kubernetes::Cluster;
use scalequest_tests::kubernetes::api_proxy::Treatment;
use scalequest_tests::kubernetes::namespace::eventually_within;
use scalequest_tests::kubernetes::simulated::placement_of;
use scalequest_tests::kubernetes::simulated_run::{End, NAME, SimulatedRun, is, run};
use scalequest_tests::kubernetes::simulated_worker::{FaultPlan, PausedWorker};
use tokio::sync::mpsc;

use crate::{SERVERS, reference};

/// How long Kubernetes may take to give up the pods of a deleted node: it looks every 20 s, and waits for 40 s.
const GIVEN_UP: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn node_loss_takes_only_its_pods() {
    let _servers = SERVERS.read().await;
    let expected = reference().await;
    let on_record = expected.stages.as_array().cloned().unwrap_or_default();
    let on_record = on_record.into_iter().map(|stage| stage["stage"].clone());
    let mut stages: Vec<Stage> = on_record
        .map(|stage| serde_json::from_value(stage).expect("a stage"))
        .collect();
    stages.push(Stage::Publish);
    stages.sort();
    stages.dedup();
    for (stage, (end, failed)) in stages.iter().zip(join_all(stages.iter().map(lost)).await) {
        let (end_data, expected_data) = (end.until_publication(), expected.until_publication());
        assert_eq!(end_data, expected_data, "lost in {stage}");
        assert!(end.made_once(), "lost in {stage}: {:?}", end.made);
        assert_eq!(failed, 0, "lost in {stage}: a lost node is no failure");
    }
}

/// A run whose first worker of `stage` loses its node; what is left, and how many pods count as failed.
async fn lost(stage: &Stage) -> (End, i32) {
    let (cluster, group) = (Cluster::shared(), format!("lost-{}", stage.slug()));
    cluster.simulated_nodes_of(&group, 2);
    let (sender, mut paused) = mpsc::unbounded_channel();
    let fault_plan = FaultPlan {
        paused: Some(sender),
        ..FaultPlan::default()
    };
    let mut run_on = SimulatedRun::begin(cluster, &group, Treatment::default(), fault_plan).await;
    let mut manifest = run();
    let own = &mut manifest["spec"]["pods"][0];
    own["nodeSelector"] = placement_of(&group)["nodeSelector"].clone();
    run_on.make(manifest).await;
    let ended = |run: &SynthesisRun| is(run, "Complete") || is(run, "Failed");
    let mut is_lost = false;
    loop {
        tokio::select! {
            Some(worker) = paused.recv() => {
                if worker.stage == *stage && !is_lost {
                    is_lost = true;
                    lose_node_of(&run_on, &worker).await;
                }
            }
            _ = run_on.until(ended) => break,
        }
    }
    assert!(is_lost, "no worker of {stage} was at work in {NAME}");
    let end = run_on.complete().await;
    let failed = |job: &Job| job.status.as_ref().and_then(|status| status.failed);
    let failed = run_on.jobs().await.iter().filter_map(failed).sum();
    (end, failed)
}

/// Deletes the node of a worker and waits until Kubernetes has given up its pods.
async fn lose_node_of(run: &SimulatedRun, worker: &PausedWorker) {
    let pods = run.space.api::<Pod>();
    let pod = pods.get(&worker.pod).await.expect("a pod at work");
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let nodes: Api<Node> = Api::all(run.space.client());
    let node = node.expect("a node");
    let deleted = nodes.delete(&node, &DeleteParams::default()).await;
    deleted.expect("a deleted node");
    eventually_within(GIVEN_UP, "its pods are given up", || async {
        let now = pods.get_opt(&worker.pod).await.ok()?;
        let is_there = now.is_some_and(|now| now.uid() == pod.uid() && !has_ended(&now));
        (!is_there).then_some(())
    })
    .await;
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}
