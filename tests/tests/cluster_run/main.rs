//! Whole runs on real pods of the built images, under the operator that the chart installs, make the bytes that `scalequest run` makes.
//! `make test-cluster` runs these tests.

mod outages;

mod services;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams};
use scalequest_crds::v1alpha1::SynthesisRun;
use scalequest_tests::harness::dataset::{Dataset, published};
use scalequest_tests::harness::hub_server::HubServer;
use scalequest_tests::harness::tiny_run::tiny_models;
use scalequest_tests::harness::{TestEnv, TinyRun};
use scalequest_tests::kubernetes::namespace::eventually;
use scalequest_tests::kubernetes::product::SYSTEM;
use scalequest_tests::kubernetes::{Cluster, Namespace};
use serde_json::{Value, json};

/// How long a whole run may take on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(900);

/// What `scalequest run` makes of a run.
fn on_one_machine(run: &TinyRun) -> Dataset {
    let env = TestEnv::new();
    run.write(&env);
    env.run().exits_with(0);
    published(&env.path().join("dataset"))
}

fn is(run: &SynthesisRun, condition: &str) -> bool {
    let conditions = run.status.iter().flat_map(|status| &status.conditions);
    conditions
        .into_iter()
        .any(|each| each.type_ == condition && each.status == "True")
}

async fn apply(space: &Namespace, manifest: &Value) {
    space
        .cluster()
        .kubectl_with(
            &["--namespace", space.name(), "apply", "-f", "-"],
            &manifest.to_string(),
        )
        .exits_with(0);
}

async fn complete(space: &Namespace, name: &str) -> SynthesisRun {
    let ended = |run: &SynthesisRun| is(run, "Complete") || is(run, "Failed");
    let run = space
        .wait_within::<SynthesisRun>(TIMEOUT, name, ended)
        .await;
    assert!(
        is(&run, "Complete"),
        "{}",
        serde_json::to_string_pretty(&run.status).unwrap_or_default()
    );
    run
}

async fn jobs(space: &Namespace) -> Vec<Job> {
    let jobs = space.api::<Job>().list(&ListParams::default()).await;
    jobs.map(|list| list.items).unwrap_or_default()
}

/// Failures that the Job controller counted.
async fn failures(space: &Namespace) -> i32 {
    let jobs = jobs(space).await;
    let failed = jobs.iter().filter_map(|job| job.status.as_ref()?.failed);
    failed.sum()
}

/// Keeps what a person sees of a run, for the project's notes.
fn keep(cluster: &Cluster, space: &Namespace, run: &str, folder: &str) {
    let target = scalequest_tests::harness::binaries::binary("scalequest");
    let folder = target
        .parent()
        .expect("a folder")
        .join("../cluster")
        .join(folder);
    std::fs::create_dir_all(&folder).expect("a directory");
    for (file, arguments) in [
        ("get.txt", vec!["get", "srun", run, "-o", "wide"]),
        ("describe.txt", vec!["describe", "srun", run]),
        (
            "events.txt",
            vec!["get", "events", "--sort-by=.lastTimestamp"],
        ),
        ("jobs.txt", vec!["get", "jobs"]),
        ("run.yaml", vec!["get", "srun", run, "-o", "yaml"]),
    ] {
        let arguments = [vec!["--namespace", space.name()], arguments].concat();
        let said = cluster.kubectl(&arguments).stdout;
        std::fs::write(folder.join(file), said).expect("a written file");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn real_pods_match_single_machine_bytes() {
    let cluster = Cluster::shared();
    cluster.install_operator();
    let run = TinyRun::full("full");
    let space = cluster.namespace("full").await;
    let (manifest, store) = space.on_claims(&run).await;
    apply(&space, &manifest).await;
    let reference = tokio::task::spawn_blocking(move || on_one_machine(&run));
    let done = complete(&space, "full").await;
    keep(cluster, &space, "full", "full");
    let reference = reference.await.expect("the run on one machine");
    let made = published(&store.join("dataset"));
    assert_eq!(made.parquet, reference.parquet, "the Parquet files differ");
    assert_eq!(made.manifest["digest"], reference.manifest["digest"]);
    let status = done.status.expect("a status");
    let rows = status.dataset.expect("a dataset").rows;
    assert!(rows >= 30, "{rows}");
    assert_eq!(failures(&space).await, 0);
    assert!(jobs(&space).await.iter().all(|job| {
        job.owner_references()
            .iter()
            .any(|owner| owner.kind == "SynthesisRun")
    }));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn disturbed_run_makes_the_same_bytes() {
    let cluster = Cluster::shared();
    cluster.install_operator();
    let run = TinyRun::small("disturbed").set(
        "/spec/pods",
        json!([{"name": "all", "stages": ["Generate", "Respond"], "parallelism": 2}]),
    );
    let space = cluster.namespace("disturbed").await;
    let (manifest, store) = space.on_claims(&run).await;
    apply(&space, &manifest).await;

    // A pod at work is deleted, as by a person.
    delete_a_pod(&space, "generate").await;
    // One is evicted, as where its node is drained.
    evict_a_pod(&space).await;
    // The run is edited: one shard at a time, and more of them are wanted.
    let edit = json!({"spec": {
        "pods": [{"name": "all", "stages": ["Generate", "Respond"], "parallelism": 1}],
        "target": {"examples": 9, "maxWaves": 6},
    }});
    patch(&space, "disturbed", edit).await;
    // The run is held: every pod ends; and goes on.
    hold(&space, true).await;
    eventually("the end of every pod", || async {
        at_work(&space).await.is_empty().then_some(())
    })
    .await;
    space
        .wait_for::<SynthesisRun>("disturbed", |run| is(run, "Suspended"))
        .await;
    hold(&space, false).await;
    // The operator's pods are deleted, and with them whatever they knew.
    let system = [
        "--namespace",
        SYSTEM,
        "delete",
        "pods",
        "--all",
        "--wait=false",
    ];
    cluster.kubectl(&system).exits_with(0);
    // A worker is killed without a word.
    let killed = eventually("a pod that responds", || async {
        let pods = at_work(&space).await;
        pods.into_iter().find(|pod| {
            pod.labels().get("scalequest.dev/stage").map(String::as_str) == Some("respond")
        })
    })
    .await;
    let delete = DeleteParams::default().grace_period(0);
    let _ = space.api::<Pod>().delete(&killed.name_any(), &delete).await;
    // The status is wiped.
    let wiped = Patch::Merge(json!({"status": null}));
    let _ = space
        .api::<SynthesisRun>()
        .patch_status("disturbed", &PatchParams::default(), &wiped)
        .await;

    complete(&space, "disturbed").await;
    keep(cluster, &space, "disturbed", "disturbed");
    let run = run.set("/spec/target/examples", 9);
    let reference = tokio::task::spawn_blocking(move || on_one_machine(&run));
    let reference = reference.await.expect("the run on one machine");
    let made = published(&store.join("dataset"));
    assert_eq!(made.parquet, reference.parquet, "the Parquet files differ");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn deleted_run_leaves_only_its_data() {
    let cluster = Cluster::shared();
    cluster.install_operator();
    let run = TinyRun::small("deleted");
    let space = cluster.namespace("deleted").await;
    let (manifest, store) = space.on_claims(&run).await;
    apply(&space, &manifest).await;
    eventually("a pod at work", || async {
        at_work(&space).await.into_iter().next()
    })
    .await;
    cluster
        .kubectl(&[
            "--namespace",
            space.name(),
            "delete",
            "srun",
            "deleted",
            "--timeout=100s",
        ])
        .exits_with(0);
    eventually("nothing is left", || async {
        let maps = space.api::<ConfigMap>().list(&labelled()).await.ok()?;
        let pods = space.api::<Pod>().list(&labelled()).await.ok()?;
        let left = jobs(&space).await.len() + maps.items.len() + pods.items.len();
        (left == 0).then_some(())
    })
    .await;
    assert!(store.is_dir());

    // Made again under its name it shares nothing with the former but the workspace, and ends.
    apply(&space, &manifest).await;
    complete(&space, "deleted").await;
    assert!(Path::new(&store.join("dataset/manifest.json")).is_file());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn invalid_run_starts_nothing() {
    let cluster = Cluster::shared();
    cluster.install_operator();
    let run = TinyRun::small("wrong");
    let space = cluster.namespace("wrong").await;
    let (mut manifest, _) = space.on_claims(&run).await;
    manifest["spec"]["models"][0]["source"]["claim"]["subPath"] = "nothing-here".into();
    apply(&space, &manifest).await;
    let refused = |run: &SynthesisRun| {
        let conditions = run.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|each| {
            each.type_ == "Accepted"
                && each.status == "False"
                && each.message.contains("nothing-here")
        })
    };
    space.wait_for::<SynthesisRun>("wrong", refused).await;
    let purposes: BTreeMap<String, usize> =
        jobs(&space)
            .await
            .iter()
            .fold(BTreeMap::new(), |mut sums, job| {
                let purpose = job.labels().get("scalequest.dev/purpose").cloned();
                *sums.entry(purpose.unwrap_or_default()).or_default() += 1;
                sums
            });
    assert!(
        purposes.keys().all(|purpose| purpose == "preflight"),
        "{purposes:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn gated_hub_model_is_fetched_once() {
    const REPOSITORY: &str = "org/chat";
    let cluster = Cluster::shared();
    cluster.install_operator();
    let run = TinyRun::small("fetched");
    let space = cluster.namespace("fetched").await;
    let (manifest, store) = space.on_claims(&run).await;
    let cache = space.claim("cache").await;
    let start = || {
        HubServer::start_at(
            &cluster.address().to_string(),
            &[(REPOSITORY, &tiny_models().chat)],
        )
    };
    let hub = tokio::task::spawn_blocking(start).await.expect("a hub");
    hub.gate("hf_right");
    let mut manifest = manifest;
    let spec = &mut manifest["spec"];
    spec["models"][0]["source"] = HubServer::source(REPOSITORY);
    spec["models"][0]["source"]["hub"]["tokenSecret"] = json!({"name": "hub", "key": "token"});
    spec["modelCache"] = json!({"claim": {"name": "cache", "subPath": "ours"}});
    spec["stores"] = json!([{"prefix": "hf://", "endpoint": hub.endpoint()}]);
    let secret = |token: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hub"}, "stringData": {"token": token}});
    apply(&space, &secret("hf_right")).await;
    apply(&space, &manifest).await;
    let reference = tokio::task::spawn_blocking(move || on_one_machine(&run));
    complete(&space, "fetched").await;
    keep(cluster, &space, "fetched", "fetched");
    let reference = reference.await.expect("the run on one machine");
    let made = published(&store.join("dataset"));
    assert_eq!(made.parquet, reference.parquet, "the Parquet files differ");
    assert_eq!(made.manifest["digest"], reference.manifest["digest"]);
    // Preflight and stages have had it from the cache, and the storage has seen no token.
    let weights = tiny_models().chat.join("model.safetensors");
    let size = std::fs::metadata(weights).expect("a model").len();
    assert_eq!(hub.sent()["model.safetensors"], size);
    assert!(!hub.leaked());
    let kept = std::fs::read_dir(cache.join("ours/models"))
        .expect("a cache")
        .flatten();
    assert!(
        kept.into_iter()
            .any(|entry| entry.path().join("model.safetensors").is_file())
    );
    assert_eq!(failures(&space).await, 0);
    tokio::task::spawn_blocking(move || drop(hub))
        .await
        .expect("an end");
}

fn labelled() -> ListParams {
    ListParams::default().labels("app.kubernetes.io/managed-by=scalequest-operator")
}

/// The workers' pods that are on a node and have not ended. A quick worker may never be seen running: the kubelet looks once a second.
async fn at_work(space: &Namespace) -> Vec<Pod> {
    let pods = space.api::<Pod>().list(&labelled()).await;
    let pods = pods.map(|list| list.items).unwrap_or_default();
    let is_at_work = |pod: &Pod| {
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        let is_placed = pod
            .spec
            .as_ref()
            .is_some_and(|spec| spec.node_name.is_some());
        is_placed && matches!(phase, Some("Pending" | "Running"))
    };
    pods.into_iter().filter(is_at_work).collect()
}

/// Deletes a pod at a stage while it is at work.
async fn delete_a_pod(space: &Namespace, stage: &str) {
    let at = |pod: &Pod| {
        let labels = pod.labels();
        labels.get("scalequest.dev/stage").map(String::as_str) == Some(stage)
            && labels.get("scalequest.dev/purpose").map(String::as_str) == Some("run")
    };
    let pod = eventually("a pod at the stage", || async {
        at_work(space).await.into_iter().find(at)
    })
    .await;
    let _ = space
        .api::<Pod>()
        .delete(&pod.name_any(), &DeleteParams::default())
        .await;
}

/// Evicts a worker's pod while it is at work.
async fn evict_a_pod(space: &Namespace) {
    let pods = space.api::<Pod>();
    eventually("an evicted pod", || async {
        let pod = at_work(space).await.into_iter().next()?;
        let evicted = pods.evict(&pod.name_any(), &EvictParams::default()).await;
        evicted.ok()
    })
    .await;
}

async fn hold(space: &Namespace, suspend: bool) {
    patch(space, "disturbed", json!({"spec": {"suspend": suspend}})).await;
}

async fn patch(space: &Namespace, run: &str, patch: Value) {
    space
        .api::<SynthesisRun>()
        .patch(run, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .expect("the run is edited");
}
