//! A real Kueue as a plain process beside a cluster: its controller with the rights of its own account, its webhooks between everybody and the
//! API server, and a queue for the pods of simulated nodes. It can be killed and started again. It knows nothing of what is queued.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::namespace::Namespace;
use super::programs::more;
use super::server::Server;
use super::simulated::SIMULATED;
use crate::harness::processes::wait_until;

/// Ports of its webhooks, health and metrics.
const PORTS: [u16; 3] = [17_980, 17_981, 17_982];

/// Its namespace.
const SYSTEM: &str = "kueue-system";

/// The webhooks that concern Jobs and Kueue's own kinds; others would stand between the tests and kinds that it is not told to queue.
const WEBHOOKS: [&str; 9] = [
    "mjob.kb.io",
    "vjob.kb.io",
    "mclusterqueue.kb.io",
    "vclusterqueue.kb.io",
    "vcohort.kb.io",
    "mresourceflavor.kb.io",
    "vresourceflavor.kb.io",
    "mworkload.kb.io",
    "vworkload.kb.io",
];

/// The queue that every namespace gets with [`Kueue::queue`].
pub const QUEUE: &str = "queue";

/// The controller.
pub struct Kueue {
    cluster: &'static Cluster,
    server: Server,
}

impl Kueue {
    /// Installs it and waits until it answers.
    ///
    /// # Panics
    /// If it is not built, with the command that builds it.
    pub fn start(cluster: &'static Cluster) -> Kueue {
        let folder = more("kueue");
        let manifests = fs::read_to_string(folder.join("manifests.yaml"))
            .expect("Kueue is built: run `tests/kubernetes/more.sh kueue`");
        let [definitions, rest, hooks] = split(&manifests);
        let apply = |objects: Vec<Value>| {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
            let arguments = [
                "apply",
                "--server-side",
                "--force-conflicts",
                "--field-manager=tests",
                "-f",
                "-",
            ];
            let said = cluster.kubectl_with(&arguments, &list.to_string());
            said.exits_with(0);
        };
        apply(definitions);
        let established = [
            "wait",
            "--for=condition=Established",
            "crd",
            "--all",
            "--timeout=60s",
        ];
        cluster.kubectl(&established).exits_with(0);
        apply(rest);
        // Before it starts: it puts its certificate into them.
        apply(hooks);
        let directory = cluster.directory().join("kueue");
        let certificates = directory.join("certificates");
        fs::create_dir_all(&certificates).expect("a directory");
        let config = directory.join("config.json");
        fs::write(&config, configuration(&certificates).to_string()).expect("a written file");
        let account = cluster.kubeconfig_of(SYSTEM, "kueue-controller-manager");
        let server = Server::start_with(
            "kueue",
            &folder.join("kueue"),
            vec![format!("--config={}", config.display())],
            vec![("KUBECONFIG".into(), account.display().to_string())],
            cluster.directory(),
        );
        let mut kueue = Kueue { cluster, server };
        kueue.mount(&certificates);
        kueue.wait_until_ready();
        kueue
    }

    /// Kills it: its webhooks stay, so nobody can make a Job.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again.
    pub fn start_again(&mut self) {
        self.server.start_again();
        self.wait_until_ready();
    }

    /// Makes a queue for a namespace, of so many processors on simulated nodes.
    pub fn queue(&self, space: &Namespace, cpus: u32) {
        let flavor = json!({
            "apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "ResourceFlavor", "metadata": {"name": "simulated"},
            "spec": {
                "nodeLabels": {SIMULATED.0: SIMULATED.1},
                "tolerations": [{"key": SIMULATED.0, "operator": "Equal", "value": SIMULATED.1, "effect": "NoSchedule"}],
            },
        });
        let queue = json!({
            "apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "ClusterQueue", "metadata": {"name": "all"},
            "spec": {
                "namespaceSelector": {}, "queueingStrategy": "BestEffortFIFO",
                "preemption": {"withinClusterQueue": "LowerPriority"},
                "resourceGroups": [{
                    "coveredResources": ["cpu", "memory"],
                    "flavors": [{"name": "simulated", "resources": [
                        {"name": "cpu", "nominalQuota": cpus}, {"name": "memory", "nominalQuota": "64Gi"},
                    ]}],
                }],
            },
        });
        let local = json!({
            "apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "LocalQueue",
            "metadata": {"name": QUEUE, "namespace": space.name()}, "spec": {"clusterQueue": "all"},
        });
        let high = json!({
            "apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "WorkloadPriorityClass", "metadata": {"name": "high"},
            "value": 1000, "description": "before all others",
        });
        for object in [flavor, queue, local, high] {
            let text = object.to_string();
            wait_until("Kueue takes its objects", Duration::from_secs(60), || {
                let said = self.cluster.kubectl_with(&["apply", "-f", "-"], &text);
                (said.code == Some(0)).then_some(())
            });
        }
    }

    /// Lets nothing in, or again as much as fits; what is in stays.
    pub fn hold(&self, holds: bool) {
        let policy = if holds { "Hold" } else { "None" };
        let patch = json!({"spec": {"stopPolicy": policy}}).to_string();
        let arguments = ["patch", "clusterqueue", "all", "--type=merge", "-p", &patch];
        self.cluster.kubectl(&arguments).exits_with(0);
    }

    /// It makes its own certificates and puts them into a Secret, which a kubelet would mount for it.
    fn mount(&mut self, certificates: &Path) {
        let cluster = self.cluster;
        wait_until("Kueue's certificates", Duration::from_secs(60), || {
            self.server.assert_runs();
            let found: Option<Secret> = cluster.block_on(async {
                let secrets: Api<Secret> = Api::namespaced(cluster.client().await, SYSTEM);
                secrets.get_opt("kueue-webhook-server-cert").await.ok()?
            });
            let data = found?.data?;
            for name in ["ca.crt", "tls.key", "tls.crt"] {
                fs::write(certificates.join(name), &data.get(name)?.0).ok()?;
            }
            Some(())
        });
    }

    fn wait_until_ready(&mut self) {
        let probe = json!({
            "apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "ResourceFlavor", "metadata": {"name": "probe"},
        });
        // A dry run through its webhooks shows that they answer.
        wait_until("an answer of Kueue", Duration::from_secs(90), || {
            self.server.assert_runs();
            let create = ["create", "--dry-run=server", "-f", "-"];
            let said = self.cluster.kubectl_with(&create, &probe.to_string());
            (said.code == Some(0)).then_some(())
        });
    }
}

/// Its definitions, what it is made of besides its Deployment, and its webhooks at the port where it listens.
fn split(manifests: &str) -> [Vec<Value>; 3] {
    let documents = manifests
        .split("\n---\n")
        .filter(|text| !text.trim().is_empty());
    let documents = documents.map(|text| serde_saphyr::from_str::<Value>(text).expect("YAML"));
    let [mut definitions, mut rest, mut hooks] = [const { Vec::new() }; 3];
    for mut object in documents {
        let kind = object["kind"].as_str().unwrap_or_default().to_string();
        let namespace = object["metadata"]["namespace"].as_str();
        match kind.as_str() {
            "CustomResourceDefinition" => definitions.push(object),
            "Namespace" => rest.insert(0, object),
            "ServiceAccount" | "Secret" | "ClusterRole" | "ClusterRoleBinding" | "Role" => {
                rest.push(object);
            }
            "RoleBinding" if namespace == Some(SYSTEM) => rest.push(object),
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
                let all = object["webhooks"].as_array_mut().expect("webhooks");
                all.retain(|hook| WEBHOOKS.iter().any(|known| hook["name"] == *known));
                for hook in all {
                    hook["clientConfig"]["service"]["port"] = PORTS[0].into();
                }
                hooks.push(object);
            }
            _ => {}
        }
    }
    // There are no Services' addresses here: this one is a name, which the API server looks up itself.
    rest.push(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "kueue-webhook-service", "namespace": SYSTEM},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    }));
    [definitions, rest, hooks]
}

fn configuration(certificates: &Path) -> Value {
    let [webhooks, health, metrics] = PORTS;
    json!({
        "apiVersion": "config.kueue.x-k8s.io/v1beta1", "kind": "Configuration", "namespace": SYSTEM,
        "health": {"healthProbeBindAddress": format!("127.0.0.1:{health}")},
        "metrics": {"bindAddress": format!("127.0.0.1:{metrics}")},
        "webhook": {"host": "127.0.0.1", "port": webhooks, "certDir": PathBuf::from(certificates)},
        "leaderElection": {"leaderElect": false},
        "clientConnection": {"qps": 1000, "burst": 2000},
        "integrations": {"frameworks": ["batch/job"]},
        "internalCertManagement": {"enable": true},
        "featureGates": {"VisibilityOnDemand": false},
    })
}
