//! The real Kubernetes that the other cluster tests stand on does what theirs rely on. `make test-cluster` runs these tests.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::ListParams;
use scalequest_tests::kubernetes::image::POD;
use scalequest_tests::kubernetes::node::REAL;
use scalequest_tests::kubernetes::simulated::placement;
use scalequest_tests::kubernetes::{Cluster, Options};
use scalequest_tests::kubernetes::{Ending, Namespace};
use serde_json::{Value, json};

/// An Indexed Job whose pods do what `arguments` say, as the restricted profile asks.
fn job(name: &str, completions: i32, arguments: &[&str], more: Value) -> Value {
    let mut pod = json!({
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "worker", "image": POD, "imagePullPolicy": "Never", "args": arguments,
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        }],
    });
    merge(&mut pod, more);
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {
            "completionMode": "Indexed", "completions": completions, "parallelism": completions,
            "backoffLimitPerIndex": 1, "maxFailedIndexes": completions, "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": [
                {"action": "FailIndex", "onExitCodes": {"containerName": "worker", "operator": "In", "values": [65]}},
                {"action": "Ignore", "onExitCodes": {"containerName": "worker", "operator": "In", "values": [75]}},
            ]},
            "template": {"spec": pod},
        },
    })
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => from
            .into_iter()
            .for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value)),
        (into, from) => *into = from,
    }
}

fn ended(job: &Job) -> bool {
    let status = job.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    conditions.iter().any(|condition| {
        matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True"
    })
}

async fn messages(space: &Namespace) -> Vec<(i32, String)> {
    let pods = space.api::<Pod>().list(&ListParams::default()).await;
    let ends = pods.expect("pods").items.into_iter().filter_map(|pod| {
        let state = pod.status?.container_statuses?.into_iter().next()?.state?;
        let terminated = state.terminated?;
        Some((terminated.exit_code, terminated.message.unwrap_or_default()))
    });
    let mut ends: Vec<_> = ends.collect();
    ends.sort();
    ends
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn real_pods_share_a_claim() {
    let cluster = Cluster::shared();
    cluster.real_nodes(1, &[]);
    let space = cluster.namespace("claim").await;
    space
        .create::<PersistentVolumeClaim>(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "store"},
            "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
        }))
        .await;
    let volume = json!({
        "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": "store"}}],
        "nodeSelector": {REAL.0: REAL.1},
    });
    let with_mount = |mut job: Value| {
        job["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] =
            json!([{"name": "store", "mountPath": "/store"}]);
        job
    };
    let write = job(
        "write",
        1,
        &["write", "/store/word", "kept", "say", "written"],
        volume.clone(),
    );
    space.create::<Job>(with_mount(write)).await;
    space.wait_for::<Job>("write", ended).await;
    assert_eq!(messages(&space).await, [(0, "written".to_string())]);

    let read = job("read", 2, &["read", "/store/word", "exit", "65"], volume);
    space.create::<Job>(with_mount(read)).await;
    let read = space.wait_for::<Job>("read", ended).await;
    let failed = read.status.and_then(|status| status.failed_indexes);
    assert_eq!(
        failed.as_deref(),
        Some("0,1"),
        "65 gives an index up at once"
    );
    let selected = ListParams::default().labels("batch.kubernetes.io/job-name=read");
    let pods = space.api::<Pod>().list(&selected).await.expect("pods");
    assert_eq!(pods.items.len(), 2);
    for pod in pods {
        assert_eq!(space.log(&pod.name_any()).await, "kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn simulated_pods_follow_their_script() {
    let cluster = Cluster::shared();
    cluster.simulated_nodes(3);
    let space = cluster.namespace("script").await;
    let _script = space.pods_end(Ending::new(75, "stopped"), |pod: Pod| async move {
        let index = pod.annotations()["batch.kubernetes.io/job-completion-index"].clone();
        let code = if index == "3" { 65 } else { 0 };
        Some(Ending::new(code, format!("index {index}")))
    });
    let mut manifest = job("many", 5, &[], placement());
    manifest["spec"]["template"]["spec"]["containers"][0]["resources"] =
        json!({"limits": {"nvidia.com/gpu": 4}});
    space.create::<Job>(manifest).await;
    let many = space.wait_for::<Job>("many", ended).await;
    let status = many.status.unwrap_or_default();
    assert_eq!(status.completed_indexes.as_deref(), Some("0-2,4"));
    assert_eq!(status.failed_indexes.as_deref(), Some("3"));
    assert!(
        messages(&space)
            .await
            .contains(&(65, "index 3".to_string()))
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn deleted_simulated_pod_is_replaced() {
    let cluster = Cluster::shared();
    cluster.simulated_nodes(3);
    let space = cluster.namespace("deleted").await;
    let _script = space.pods_end(Ending::new(75, "stopped"), |_| async { None });
    space.create::<Job>(job("long", 1, &[], placement())).await;
    let running = |job: &Job| {
        let status = job.status.clone().unwrap_or_default();
        status.ready == Some(1)
    };
    space.wait_for::<Job>("long", running).await;
    let pods = space.api::<Pod>();
    let first = pods.list(&ListParams::default()).await.expect("pods").items[0].name_any();
    pods.delete(&first, &Default::default())
        .await
        .expect("a deleted pod");
    let replaced = scalequest_tests::kubernetes::namespace::eventually("another pod", || async {
        let now = pods.list(&ListParams::default()).await.ok()?;
        let other = now.items.iter().find(|pod| pod.name_any() != first)?;
        Some(other.name_any())
    })
    .await;
    space
        .wait_for::<Pod>(&replaced, |pod| {
            pod.status
                .as_ref()
                .is_some_and(|status| status.phase.as_deref() == Some("Running"))
        })
        .await;
    let job = space.wait_for::<Job>("long", running).await;
    let status = job.status.unwrap_or_default();
    assert_eq!(status.failed.unwrap_or(0), 0, "75 is no failure");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn unrestricted_pod_is_rejected() {
    let space = Cluster::shared().namespace("refused").await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root"},
        "spec": {"containers": [{"name": "c", "image": POD}]},
    });
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    let refusal = space.api::<Pod>().create(&Default::default(), &pod).await;
    let refusal = refusal.expect_err("it is refused").to_string();
    assert!(refusal.contains("violates PodSecurity"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn api_server_restart_keeps_state() {
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(Options::default())));
    let space = cluster.namespace("killed").await;
    cluster.control_plane().api_server.kill();
    let gone = space.api::<Pod>().list(&ListParams::default()).await;
    assert!(gone.is_err(), "the API server is away");
    cluster.control_plane().api_server.start_again();
    cluster.wait_until_ready();
    let said = cluster.kubectl(&["get", "namespace", space.name()]);
    said.exits_with(0);
}
