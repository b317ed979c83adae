//! One cluster: started here, or somebody's that `KUBECONFIG` names. Owns its servers and what works for it in the background.

use std::future::Future;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::GetParams;
use kube::core::Request;
use kube::{Api, Client};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::client::client;
use super::control_plane::{ControlPlane, Options};
use super::credentials::Credentials;
use super::keeper::SlotGuard;
use super::node::Node;
use super::server::Server;
use super::slot::Slot;
use super::{network, volumes};
use crate::harness::processes::wait_until;

/// How long a server may take to be ready.
const TIMEOUT: Duration = Duration::from_secs(180);

/// A cluster.
pub struct Cluster {
    kubeconfig: PathBuf,
    directory: PathBuf,
    background: Option<Runtime>,
    own: Option<Own>,
    _foreign_directory: Option<TempDir>,
}

/// What a cluster that was started here consists of. Fields are dropped in this order: the keeper clears the slot when the servers
/// are gone.
pub(super) struct Own {
    pub(super) nodes: Mutex<Vec<Node>>,
    pub(super) kwok: Mutex<Option<Server>>,
    control_plane: Mutex<ControlPlane>,
    pub(super) credentials: Credentials,
    slot_guard: SlotGuard,
}

impl Own {
    pub(super) fn slot(&self) -> Slot {
        self.slot_guard.slot()
    }
}

impl Cluster {
    /// The cluster of this test program: the one that `KUBECONFIG` names, otherwise one that whoever comes first starts.
    pub fn shared() -> &'static Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var_os("KUBECONFIG") {
            Some(path) if !path.is_empty() => Cluster::of_kubeconfig(PathBuf::from(path)),
            _ => Cluster::start(Options::default()),
        })
    }

    /// The address by which pods reach this machine.
    ///
    /// # Panics
    /// If the cluster is somebody else's.
    pub fn address(&self) -> Ipv4Addr {
        self.own("reaches this machine").slot().address()
    }

    /// Starts a cluster of one's own. Dropping it ends it.
    ///
    /// # Panics
    /// If it is not ready in time, with the last words of the server that ended.
    pub fn start(options: Options) -> Cluster {
        let slot_guard = SlotGuard::take();
        let slot = slot_guard.slot();
        let directory = slot.directory();
        let credentials = Credentials::make(slot, &directory.join("credentials"));
        network::set_up(slot);
        let kubeconfig = credentials.kubeconfig("admin");
        let background = background();
        let answers = |server: &mut Server| {
            wait_until("an answer of the API server", TIMEOUT, || {
                server.assert_runs();
                wait_on(&background, is_answering(&kubeconfig)).then_some(())
            });
        };
        let control_plane = ControlPlane::start(slot, &directory, &credentials, &options, answers);
        let cluster = Cluster {
            kubeconfig,
            directory,
            background: Some(background),
            own: Some(Own {
                nodes: Mutex::default(),
                kwok: Mutex::default(),
                control_plane: Mutex::new(control_plane),
                credentials,
                slot_guard,
            }),
            _foreign_directory: None,
        };
        cluster.wait_until_ready();
        cluster.in_background(volumes::provide(
            cluster.kubeconfig.clone(),
            cluster.directory.join("volumes"),
        ));
        cluster
    }

    /// Somebody's cluster.
    pub fn of_kubeconfig(kubeconfig: PathBuf) -> Cluster {
        let directory = TempDir::new().expect("a temporary directory");
        Cluster {
            kubeconfig,
            directory: directory.path().into(),
            background: Some(background()),
            own: None,
            _foreign_directory: Some(directory),
        }
    }

    /// A client with all rights. It belongs to the test's own runtime, so each test makes its own.
    pub async fn client(&self) -> Client {
        client(&self.kubeconfig).await
    }

    /// The file that names this cluster and the user with all rights.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Where the cluster's files lie.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The servers, to kill and start again.
    ///
    /// # Panics
    /// If the cluster was not started here.
    #[track_caller]
    pub fn control_plane(&self) -> MutexGuard<'_, ControlPlane> {
        let own = self.own("has servers that a test may break");
        own.control_plane.lock().expect("no test panicked here")
    }

    /// Waits until the API server answers, controllers work and every namespace gets its service account.
    #[track_caller]
    pub fn wait_until_ready(&self) {
        wait_until("a ready cluster", TIMEOUT, || {
            self.control_plane().assert_runs();
            self.block_on(is_ready(&self.kubeconfig)).then_some(())
        });
    }

    #[track_caller]
    pub(super) fn own(&self, what: &str) -> &Own {
        self.own.as_ref().unwrap_or_else(|| {
            panic!("only a cluster that was started here {what}: unset KUBECONFIG")
        })
    }

    pub(super) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Lets something work for the cluster until it is dropped.
    pub(super) fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.background {
            runtime.spawn(work);
        }
    }

    /// Waits for `work`, within a runtime or outside.
    pub(super) fn block_on<T: Send>(&self, work: impl Future<Output = T> + Send) -> T {
        wait_on(self.background.as_ref().expect("not dropped yet"), work)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A test drops it within its own runtime, where another may not be waited for.
        if let Some(runtime) = self.background.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits for `work` on a thread of its own, since the caller may be within another runtime.
fn wait_on<T: Send>(runtime: &Runtime, work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| runtime.block_on(work));
        thread.join().expect("what was waited for did not panic")
    })
}

/// Whether the API server says that it is ready. Asked anew a moment later where not.
async fn is_answering(kubeconfig: &Path) -> bool {
    let request = Request::new("")
        .get("readyz", &GetParams::default())
        .expect("a request");
    let answer = client(kubeconfig).await.request_text(request).await;
    let is_ready = answer.is_ok_and(|text| text == "ok");
    if !is_ready {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    is_ready
}

/// Whether controllers do their work.
async fn is_ready(kubeconfig: &Path) -> bool {
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client(kubeconfig).await);
    let found = accounts.get_opt("default").await;
    let is_there = found.is_ok_and(|account| account.is_some());
    if !is_there {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    is_there
}

fn background() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}
