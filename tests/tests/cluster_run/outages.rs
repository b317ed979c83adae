//! What is refused to whole runs on real pods: the workspace, a node, an object store. Each run says what it waits for, and makes the bytes of a run on
//! one machine once it has it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use scalequest_crds::v1alpha1::SynthesisRun;
use scalequest_tests::harness::TinyRun;
use scalequest_tests::harness::dataset::published;
use scalequest_tests::kubernetes::namespace::eventually_within;
use scalequest_tests::kubernetes::product::SYSTEM;
use scalequest_tests::kubernetes::{Cluster, Namespace};
use serde_json::{Value, json};

use super::{TIMEOUT, apply, at_work, complete, is, jobs, keep, on_one_machine};

/// Time within which a condition names a cause.
const SHOWN_WITHIN: Duration = Duration::from_secs(120);

fn says(run: &SynthesisRun, kind: &str, reason: &str) -> bool {
    let conditions = run.status.iter().flat_map(|status| &status.conditions);
    conditions
        .into_iter()
        .any(|each| each.type_ == kind && each.status == "True" && each.reason == reason)
}

async fn shown(space: &Namespace, name: &str, kind: &str, reason: &str) -> SynthesisRun {
    let is_shown = |run: &SynthesisRun| says(run, kind, reason);
    space.wait_within(SHOWN_WITHIN, name, is_shown).await
}

/// Waits until a worker of `stage` runs.
pub async fn reaches(space: &Namespace, stage: &str) {
    eventually_within(TIMEOUT, stage, || async {
        let pods = at_work(space).await;
        let is_there = |label: Option<&String>| label.map(String::as_str) == Some(stage);
        let mut pods = pods.iter();
        pods.any(|pod| is_there(pod.labels().get("scalequest.dev/stage")))
            .then_some(())
    })
    .await;
}

/// Waits until nothing but probes runs.
pub async fn releases_pods(space: &Namespace) {
    eventually_within(SHOWN_WITHIN, "probes alone", || async {
        let jobs = jobs(space).await;
        let purpose = |job: &Job| job.labels()["scalequest.dev/purpose"].clone();
        let is_over = |job: &Job| {
            let status = job.status.clone().unwrap_or_default();
            status.completion_time.is_some() || status.failed > Some(0)
        };
        let mut active = jobs.iter().filter(|job| !is_over(job));
        active.all(|job| purpose(job) == "probe").then_some(())
    })
    .await;
}

fn allow(directory: &Path, mode: u32) {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(directory, permissions).expect("permissions");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn unwritable_workspace_blocks_a_run() {
    let cluster = Cluster::shared();
    cluster.install_operator();
    let run = TinyRun::small("denied");
    let space = cluster.namespace("denied").await;
    let (manifest, store) = space.on_claims(&run).await;
    apply(&space, &manifest).await;
    reaches(&space, "respond").await;
    let workspace = store.join("workspace");
    let metadata = std::fs::metadata(&workspace).expect("a workspace");
    let mode = metadata.permissions().mode();
    allow(&workspace, 0);
    let denied = shown(&space, "denied", "Degraded", "AccessDenied").await;
    assert!(!is(&denied, "Failed"));
    releases_pods(&space).await;
    keep(cluster, &space, "denied", "denied");
    // Another replica becomes the leader, which knows nothing but what the cluster holds.
    let system = ["--namespace", SYSTEM, "delete", "pods", "--all"];
    cluster.kubectl(&system).exits_with(0);
    allow(&workspace, mode & 0o7777);
    complete(&space, "denied").await;
    let reference = tokio::task::spawn_blocking(move || on_one_machine(&run));
    let reference = reference.await.expect("the run on one machine");
    let made = published(&store.join("dataset"));
    assert_eq!(made.parquet, reference.parquet, "the Parquet files differ");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn corrected_node_selector_starts_the_run() {
    let cluster = Cluster::shared();
    cluster.install_operator();
    let run = TinyRun::small("typo");
    let space = cluster.namespace("typo").await;
    let (mut manifest, store) = space.on_claims(&run).await;
    // A number without quotes, which an operator could not read once and then saw no run of anybody.
    let pods = |selector: Value| {
        json!([{"name": "all", "stages": ["Generate", "Respond", "Publish"], "nodeSelector": selector,
            "resources": {"requests": {"memory": 268_435_456}, "limits": {"memory": 17_179_869_184_i64}}}])
    };
    manifest["spec"]["pods"] = pods(json!({"kubernetes.io/os": "linus"}));
    apply(&space, &manifest).await;
    let waiting = shown(&space, "typo", "Waiting", "Scheduling").await;
    assert!(!is(&waiting, "Degraded"), "{:?}", waiting.status);
    keep(cluster, &space, "typo", "typo");
    manifest["spec"]["pods"] = pods(json!({"kubernetes.io/os": "linux"}));
    apply(&space, &manifest).await;
    complete(&space, "typo").await;
    let reference = tokio::task::spawn_blocking(move || on_one_machine(&run));
    let reference = reference.await.expect("the run on one machine");
    let made = published(&store.join("dataset"));
    assert_eq!(made.parquet, reference.parquet, "the Parquet files differ");
}
