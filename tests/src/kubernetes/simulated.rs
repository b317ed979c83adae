//! Simulated nodes, and how the pods on them end. kwok keeps the nodes alive and their pods running; a [`Script`] is their containers: it
//! ends each pod as the test says, with an exit code and a termination message, and ends deleted pods as a kubelet would.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::client::client;
use super::cluster::Cluster;
use super::namespace::Namespace;
use super::programs::{folder, program};
use super::server::Server;
use super::slot::Port;
use crate::harness::processes::wait_until;

/// Label and taint of simulated nodes.
pub const SIMULATED: (&str, &str) = ("scalequest.dev/tests-node", "simulated");

/// Label of simulated nodes: for whom they are.
pub const GROUP: &str = "scalequest.dev/tests-group";

/// What ends a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodEnd {
    /// Its containers exit.
    Exit,
    /// The kernel kills its containers for their memory.
    OutOfMemory,
    /// The kubelet refuses it, so that no container starts.
    Refused,
    /// The kubelet evicts it.
    Evicted,
}

/// How a pod ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What ends it.
    pub by: PodEnd,
    /// Exit code of its containers.
    pub exit_code: i32,
    /// Their termination message.
    pub message: String,
    /// How long it runs.
    pub after: Duration,
}

impl Ending {
    /// At once, with this exit code and message.
    pub fn new(exit_code: i32, message: impl Into<String>) -> Self {
        Ending {
            by: PodEnd::Exit,
            exit_code,
            message: message.into(),
            after: Duration::ZERO,
        }
    }

    /// At once, by something else than itself.
    pub fn by(by: PodEnd) -> Self {
        Ending {
            by,
            ..Ending::new(137, "")
        }
    }

    /// After a while.
    pub fn after(mut self, after: Duration) -> Self {
        self.after = after;
        self
    }
}

impl Cluster {
    /// Makes simulated nodes until there are so many, with 8 GPUs each, tainted: a pod that is to run there has the [`placement`].
    ///
    /// # Panics
    /// If they are not ready in time.
    pub fn simulated_nodes(&self, count: usize) {
        self.simulated_nodes_of("shared", count);
    }

    /// The same nodes for those alone who select the label [`GROUP`] with the value `group`.
    ///
    /// # Panics
    /// If they are not ready in time.
    pub fn simulated_nodes_of(&self, group: &str, count: usize) {
        let own = self.own("gets simulated nodes");
        let mut kwok = own.kwok.lock().expect("no test panicked here");
        if kwok.is_none() {
            *kwok = Some(self.start_kwok());
        }
        drop(kwok);
        let kubeconfig = self.kubeconfig().to_path_buf();
        self.block_on(make_nodes(&kubeconfig, group, count));
        wait_until("ready simulated nodes", Duration::from_secs(60), || {
            let label = format!("--selector={GROUP}={group}");
            let said = self
                .kubectl(&["get", "nodes", &label, "--no-headers"])
                .stdout;
            let is_ready = |line: &&str| line.contains(" Ready ");
            (said.lines().filter(is_ready).count() >= count).then_some(())
        });
    }

    fn start_kwok(&self) -> Server {
        let own = self.own("gets simulated nodes");
        let slot = own.slot();
        let port = slot.port(Port::Kwok);
        let arguments = vec![
            format!(
                "--kubeconfig={}",
                own.credentials.kubeconfig("kwok").display()
            ),
            format!("--config={}", folder().join("stages.yaml").display()),
            "--manage-all-nodes=false".into(),
            format!(
                "--manage-nodes-with-label-selector={}={}",
                SIMULATED.0, SIMULATED.1
            ),
            "--node-lease-duration-seconds=40".into(),
            format!("--server-address=127.0.0.1:{port}"),
            format!("--node-port={port}"),
            "--node-ip=127.0.0.1".into(),
            format!("--cidr={}", slot.simulated_pods()),
        ];
        Server::start("kwok", &program("kwok"), arguments, self.directory())
    }
}

async fn make_nodes(kubeconfig: &Path, group: &str, count: usize) {
    let nodes: Api<Node> = Api::all(client(kubeconfig).await);
    for index in 0..count {
        let node: Node = serde_json::from_value(node(group, index)).expect("a node");
        let parameters = PatchParams::apply("tests").force();
        let name = node.name_any();
        let applied = nodes.patch(&name, &parameters, &Patch::Apply(&node)).await;
        applied.expect("a simulated node is made");
        // Its size is status, which is a patch of its own.
        let applied = nodes
            .patch_status(&name, &parameters, &Patch::Apply(&node))
            .await;
        applied.expect("a simulated node gets its size");
    }
}

fn node(group: &str, index: usize) -> Value {
    let size = json!({"cpu": "64", "memory": "512Gi", "pods": "500", "ephemeral-storage": "1Ti", "nvidia.com/gpu": "8"});
    let name = format!("simulated-{group}-{index}");
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {
            SIMULATED.0: SIMULATED.1,
            GROUP: group,
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
        }},
        "spec": {"taints": [{"key": SIMULATED.0, "value": SIMULATED.1, "effect": "NoSchedule"}]},
        "status": {"capacity": size, "allocatable": size},
    })
}

/// The placement that puts a pod on simulated nodes.
pub fn placement() -> Value {
    placement_of("shared")
}

/// The placement that puts a pod on the simulated nodes of `group`.
pub fn placement_of(group: &str) -> Value {
    json!({
        "nodeSelector": {SIMULATED.0: SIMULATED.1, GROUP: group},
        "tolerations": [{"key": SIMULATED.0, "operator": "Equal", "value": SIMULATED.1, "effect": "NoSchedule"}],
    })
}

/// What happens in the pods of a namespace, until dropped.
#[derive(Debug)]
pub struct Script(JoinHandle<()>);

impl Drop for Script {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Namespace {
    /// From now on, each pod on simulated nodes here ends as `ending` says once it runs; `None` lets it run. A pod that is deleted
    /// while it runs ends as `stopped` says.
    pub fn pods_end<F, E>(&self, stopped: Ending, ending: F) -> Script
    where
        F: Fn(Pod) -> E + Send + Sync + 'static,
        E: Future<Output = Option<Ending>> + Send + 'static,
    {
        let (client, namespace) = (self.client(), self.name().to_string());
        let ending = Arc::new(ending);
        Script(tokio::spawn(async move {
            let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
            let seen = watcher(pods, watcher::Config::default()).default_backoff();
            let mut seen = pin!(seen.applied_objects());
            let mut running = BTreeSet::new();
            loop {
                match seen.try_next().await {
                    Ok(Some(pod)) => {
                        let is_new = |running: &mut BTreeSet<String>, what| {
                            running.insert(format!("{what}{}", pod.uid().unwrap_or_default()))
                        };
                        if !is_simulated(&pod) {
                            continue;
                        }
                        if pod.metadata.deletion_timestamp.is_some() {
                            if is_new(&mut running, "-") {
                                tokio::spawn(delete(client.clone(), pod, stopped.clone()));
                            }
                        } else if phase(&pod) == "Running" && is_new(&mut running, "+") {
                            tokio::spawn(run(client.clone(), pod, Arc::clone(&ending)));
                        }
                    }
                    Ok(None) => return,
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        }))
    }
}

fn is_simulated(pod: &Pod) -> bool {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    node.is_some_and(|node| node.starts_with("simulated-"))
}

fn phase(pod: &Pod) -> &str {
    let status = pod.status.as_ref();
    status
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

async fn run<F, E>(client: Client, pod: Pod, ending: Arc<F>)
where
    F: Fn(Pod) -> E,
    E: Future<Output = Option<Ending>>,
{
    if let Some(ending) = ending(pod.clone()).await {
        tokio::time::sleep(ending.after).await;
        end(&client, &pod, &ending).await;
    }
}

/// Ends a deleted pod's containers if they still run, then lets it go.
async fn delete(client: Client, pod: Pod, stopped: Ending) {
    if !matches!(phase(&pod), "Succeeded" | "Failed") {
        end(&client, &pod, &stopped).await;
    }
    let pods: Api<Pod> = Api::namespaced(client, &pod.namespace().unwrap_or_default());
    let _ = pods
        .delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
        .await;
}

/// Writes the status of a pod whose containers have ended. A pod that is gone is no error; while the API server is away it is
/// tried again, as a kubelet does.
async fn end(client: &Client, pod: &Pod, ending: &Ending) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let status = ended(pod, ending, &now);
    for _ in 0..600 {
        let patch = Patch::Merge(json!({"metadata": {"uid": pod.uid()}, "status": status}));
        match pods
            .patch_status(&pod.name_any(), &PatchParams::default(), &patch)
            .await
        {
            Ok(_) => return,
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => return,
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

fn ended(pod: &Pod, ending: &Ending, now: &str) -> Value {
    let has_failed = ending.exit_code != 0;
    let reason = match (ending.by, has_failed) {
        (PodEnd::OutOfMemory, _) => "OOMKilled",
        (_, true) => "Error",
        (_, false) => "Completed",
    };
    let terminated = json!({
        "exitCode": ending.exit_code,
        "reason": reason,
        "message": ending.message,
        "startedAt": pod.status.as_ref().and_then(|status| status.start_time.clone()),
        "finishedAt": now,
    });
    let spec = pod.spec.clone().unwrap_or_default();
    // What somebody else has added runs on, until the pod is deleted.
    let is_deleted = pod.metadata.deletion_timestamp.is_some();
    let is_worker = |name: &str| name == "worker" || spec.containers.len() == 1 || is_deleted;
    let containers: Vec<Value> = spec
        .containers
        .iter()
        .map(|container| {
            let state = match is_worker(&container.name) {
                true => json!({"terminated": terminated, "running": null}),
                false => json!({"running": {"startedAt": now}}),
            };
            json!({
                "name": container.name, "image": container.image, "imageID": "", "restartCount": 0,
                "ready": false, "started": false, "state": state,
            })
        })
        .collect();
    let is_over = spec
        .containers
        .iter()
        .all(|container| is_worker(&container.name));
    match ending.by {
        PodEnd::Exit | PodEnd::OutOfMemory => json!({
            "phase": match (is_over, has_failed) {
                (false, _) => "Running",
                (true, true) => "Failed",
                (true, false) => "Succeeded",
            },
            "containerStatuses": containers,
        }),
        PodEnd::Refused => json!({
            "phase": "Failed", "reason": "UnexpectedAdmissionError", "containerStatuses": null,
            "message": "Pod was rejected: allocate failed due to requested devices being unavailable",
        }),
        PodEnd::Evicted => json!({
            "phase": "Failed", "reason": "Evicted", "containerStatuses": containers,
            "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}],
        }),
    }
}
