//! The peer: Argo Workflows' controller as a plain process on the same servers, with workflows of eight steps in a row whose pods end at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use scalequest_tests::kubernetes::programs::more;
use scalequest_tests::kubernetes::server::Server;
use scalequest_tests::kubernetes::simulated::placement;
use scalequest_tests::kubernetes::{Cluster, Ending, Namespace};
use serde_json::{Value, json};

use super::measure::{count, memory_kib};

/// What was seen of it, per workflow.
pub struct Peer {
    pub seconds: f64,
    pub writes: f64,
    pub by_kind: BTreeMap<String, f64>,
    pub memory_kib: f64,
}

const STEPS: usize = 8;

/// Makes so many workflows and waits until they have ended.
pub async fn run(cluster: &'static Cluster, audit: &Path, workflows: usize) -> Peer {
    let space = cluster.namespace("argo-bench").await;
    // Its pods do not keep to the restricted profile.
    let free = "pod-security.kubernetes.io/enforce=privileged";
    let arguments = ["label", "--overwrite", "namespace", space.name(), free];
    cluster.kubectl(&arguments).exits_with(0);
    let controller = start(cluster);
    let _pods = space.pods_end(Ending::new(143, ""), |_: Pod| async {
        Some(Ending::new(0, ""))
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    let pid = controller.pid().expect("it runs");
    let before = memory_kib(pid, "VmRSS");
    let begun = Instant::now();
    let all: Vec<Value> = (0..workflows)
        .map(|index| workflow(&space, index))
        .collect();
    for some in all.chunks(100) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": some});
        let create = ["create", "-f", "-"];
        cluster
            .kubectl_with(&create, &list.to_string())
            .exits_with(0);
    }
    loop {
        let phases = "jsonpath={range .items[*]}{.status.phase}{\"\\n\"}{end}";
        let arguments = [
            "--namespace",
            space.name(),
            "get",
            "workflows",
            "-o",
            phases,
        ];
        let said = cluster.kubectl(&arguments).stdout;
        let ended = |phase: &&str| matches!(*phase, "Succeeded" | "Failed" | "Error");
        let count = said.lines().filter(ended).count();
        if count >= workflows {
            assert!(
                !said.contains("Failed") && !said.contains("Error"),
                "{said}"
            );
            break;
        }
        let wait = begun.elapsed();
        assert!(
            wait < Duration::from_secs(3 * 3600),
            "{count} of {workflows} workflows have ended"
        );
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(15)).await;
    let requests = count(audit, "system:serviceaccount:argo:argo");
    let after = memory_kib(pid, "VmRSS");
    let per = |value: u64| value as f64 / workflows as f64;
    Peer {
        seconds,
        writes: per(requests.writes()),
        by_kind: requests
            .writes
            .iter()
            .map(|(what, times)| (what.clone(), per(*times)))
            .collect(),
        memory_kib: per(after.saturating_sub(before)),
    }
}

/// Installs what the controller needs and starts it with the rights of its own account.
fn start(cluster: &Cluster) -> Server {
    let folder = more("argo");
    let manifests = std::fs::read_to_string(folder.join("manifests.yaml"));
    let manifests = manifests.expect("Argo is built: run `tests/kubernetes/more.sh argo`");
    let is_kept = |text: &&str| {
        !["Deployment", "Service"]
            .iter()
            .any(|kind| text.lines().any(|line| line == format!("kind: {kind}")))
    };
    let documents: Vec<&str> = manifests.split("\n---\n").filter(is_kept).collect();
    cluster
        .kubectl(&["create", "namespace", "argo"])
        .exits_with(0);
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    cluster
        .kubectl_with(&apply, &documents.join("\n---\n"))
        .exits_with(0);
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "workflow-controller-configmap", "namespace": "argo"},
        "data": {"metricsConfig": "enabled: false\n", "telemetryConfig": "enabled: false\n"},
    });
    cluster
        .kubectl_with(&apply, &settings.to_string())
        .exits_with(0);
    let kubeconfig = cluster.kubeconfig_of("argo", "argo");
    let arguments = [
        "--kubeconfig",
        &kubeconfig.display().to_string(),
        "--namespace",
        "argo",
        "--executor-image",
        "none",
        "--qps",
        "1000",
        "--burst",
        "2000",
        "--loglevel",
        "warn",
    ];
    // Its own pause before it looks again is ten seconds, which would dominate.
    let environment = [
        ("LEADER_ELECTION_DISABLE", "true"),
        ("DEFAULT_REQUEUE_TIME", "100ms"),
    ];
    Server::start_with(
        "argo",
        &folder.join("workflow-controller"),
        arguments.map(String::from).into(),
        environment
            .map(|(name, value)| (name.into(), value.into()))
            .into(),
        cluster.directory(),
    )
}

fn workflow(space: &Namespace, index: usize) -> Value {
    let step = |number: usize| {
        let mut task = json!({"name": format!("s{number}"), "template": "pod"});
        if number > 0 {
            task["depends"] = format!("s{}", number - 1).into();
        }
        task
    };
    let tasks: Vec<Value> = (0..STEPS).map(step).collect();
    let placed = placement();
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
        "metadata": {"name": format!("workflow-{index}"), "namespace": space.name()},
        "spec": {
            "entrypoint": "main",
            "nodeSelector": placed["nodeSelector"], "tolerations": placed["tolerations"],
            "templates": [
                {"name": "main", "dag": {"tasks": tasks}},
                {"name": "pod", "container": {"image": "none", "command": ["true"]}},
            ],
        },
    })
}
