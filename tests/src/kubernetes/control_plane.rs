//! etcd, API server, controller manager and scheduler of one cluster, as child processes with every admission plugin that Kubernetes turns
//! on by default, RBAC and the node authorizer. Each can be killed and started again on the same data.

use std::net::SocketAddr;
use std::path::Path;

use super::credentials::Credentials;
use super::programs::program;
use super::server::Server;
use super::slot::{Port, Slot};

/// How a cluster is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// More arguments of the API server.
    pub api_server: Vec<String>,
    /// More arguments of the controller manager.
    pub controller_manager: Vec<String>,
}

/// The four servers.
#[derive(Debug)]
pub struct ControlPlane {
    /// The store.
    pub etcd: Server,
    /// The API server.
    pub api_server: Server,
    /// Jobs, namespaces, garbage collection, node life.
    pub controller_manager: Server,
    /// Places pods on nodes.
    pub scheduler: Server,
}

impl ControlPlane {
    /// Starts all four. `answer` waits until the API server answers: the last two end where they come too early.
    pub fn start(
        slot: Slot,
        directory: &Path,
        credentials: &Credentials,
        options: &Options,
        answer: impl FnOnce(&mut Server),
    ) -> Self {
        let start = |name: &str, arguments: Vec<String>| {
            Server::start(name, &program(name), arguments, directory)
        };
        let etcd = start("etcd", etcd(slot, directory));
        let mut api_server = start("kube-apiserver", api_server(slot, credentials, options));
        answer(&mut api_server);
        ControlPlane {
            etcd,
            api_server,
            controller_manager: start(
                "kube-controller-manager",
                controller_manager(slot, credentials, options),
            ),
            scheduler: start("kube-scheduler", scheduler(slot, credentials)),
        }
    }

    /// Asserts that all of them run.
    #[track_caller]
    pub fn assert_runs(&mut self) {
        self.etcd.assert_runs();
        self.api_server.assert_runs();
        self.controller_manager.assert_runs();
        self.scheduler.assert_runs();
    }
}

fn etcd(slot: Slot, directory: &Path) -> Vec<String> {
    let url = |address: SocketAddr| format!("http://{address}");
    let (clients, peers) = (
        url(slot.loopback(Port::Etcd)),
        url(slot.loopback(Port::EtcdPeer)),
    );
    vec![
        format!("--data-dir={}", directory.join("etcd").display()),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
    ]
}

fn api_server(slot: Slot, credentials: &Credentials, options: &Options) -> Vec<String> {
    let file = |name| credentials.path(name);
    let mut arguments = vec![
        format!("--etcd-servers=http://{}", slot.loopback(Port::Etcd)),
        format!("--bind-address={}", slot.address()),
        format!("--advertise-address={}", slot.address()),
        format!("--secure-port={}", slot.port(Port::ApiServer)),
        format!("--tls-cert-file={}", file("api-server.crt")),
        format!("--tls-private-key-file={}", file("api-server.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--token-auth-file={}", file("tokens.csv")),
        format!(
            "--kubelet-client-certificate={}",
            file("kubelet-client.crt")
        ),
        format!("--kubelet-client-key={}", file("kubelet-client.key")),
        "--kubelet-preferred-address-types=InternalIP".into(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
        format!(
            "--service-account-key-file={}",
            file("service-accounts.pub")
        ),
        format!(
            "--service-account-signing-key-file={}",
            file("service-accounts.key")
        ),
        format!("--service-cluster-ip-range={}", slot.services().0),
        "--authorization-mode=Node,RBAC".into(),
        // The second is off by default, and shows whether an owner of objects may set their `blockOwnerDeletion`.
        "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement".into(),
        "--profiling=false".into(),
    ];
    arguments.extend(options.api_server.iter().cloned());
    arguments
}

fn controller_manager(slot: Slot, credentials: &Credentials, options: &Options) -> Vec<String> {
    let mut arguments = as_user(
        slot,
        credentials,
        "controller-manager",
        Port::ControllerManager,
    );
    arguments.extend([
        "--use-service-account-credentials=true".into(),
        format!(
            "--service-account-private-key-file={}",
            credentials.path("service-accounts.key")
        ),
        format!("--root-ca-file={}", credentials.path("ca.crt")),
        format!("--cluster-signing-cert-file={}", credentials.path("ca.crt")),
        format!("--cluster-signing-key-file={}", credentials.path("ca.key")),
        "--concurrent-job-syncs=20".into(),
        "--terminated-pod-gc-threshold=2000".into(),
    ]);
    arguments.extend(options.controller_manager.iter().cloned());
    arguments
}

fn scheduler(slot: Slot, credentials: &Credentials) -> Vec<String> {
    as_user(slot, credentials, "scheduler", Port::Scheduler)
}

/// What the two clients of the API server have in common. The limits on requests are far above the defaults, under which a Job of a
/// thousand pods takes minutes.
fn as_user(slot: Slot, credentials: &Credentials, user: &str, port: Port) -> Vec<String> {
    let kubeconfig = credentials.kubeconfig(user).display().to_string();
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1".into(),
        format!("--secure-port={}", slot.port(port)),
        "--leader-elect=false".into(),
        "--kube-api-qps=1000".into(),
        "--kube-api-burst=2000".into(),
        "--profiling=false".into(),
    ]
}
