//! A Hugging Face hub on loopback that serves folders as repositories: the listing with digests, small files itself, large ones from a storage
//! of another origin to which it redirects. It misbehaves as it is told to, and counts what it sent.

mod fault;

mod listing;

mod serve;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

pub use fault::Fault;

/// The only revision of every repository.
pub const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";

/// A running hub with its storage; it ends when dropped.
pub struct HubServer {
    hub: SocketAddr,
    state: Arc<Served>,
    runtime: Option<Runtime>,
}

/// What is served, and what became of it.
struct Served {
    repositories: BTreeMap<String, PathBuf>,
    /// Where large files are.
    storage: SocketAddr,
    log: Mutex<Log>,
}

/// What is to happen, and what happened.
#[derive(Default)]
struct Log {
    /// The token without which nothing is given out.
    gate: Option<String>,
    /// What meets the reads of a file to come, by its name, the next one last.
    next: BTreeMap<String, Vec<Fault>>,
    /// What meets every read of a file.
    always: BTreeMap<String, Fault>,
    /// What meets the listings to come, the next one last.
    listings: Vec<Fault>,
    requests: usize,
    /// Bytes of each file that were sent.
    sent: BTreeMap<String, u64>,
    /// From where each read of a file began.
    ranges: BTreeMap<String, Vec<u64>>,
    /// Whether the storage was ever shown a token.
    leaked: bool,
}

impl HubServer {
    /// Serves folders, each as the repository of the name beside it.
    pub fn start(repositories: &[(&str, &Path)]) -> Self {
        Self::start_at("127.0.0.1", repositories)
    }

    /// The same at another address of this machine.
    pub fn start_at(address: &str, repositories: &[(&str, &Path)]) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let bind = || {
            runtime
                .block_on(tokio::net::TcpListener::bind((address, 0)))
                .expect("a free port")
        };
        let (hub, storage) = (bind(), bind());
        let repositories = repositories
            .iter()
            .map(|(name, folder)| ((*name).to_owned(), folder.to_path_buf()));
        let state = Arc::new(Served {
            repositories: repositories.collect(),
            storage: storage.local_addr().expect("an address"),
            log: Mutex::default(),
        });
        let address = hub.local_addr().expect("an address");
        let of_hub = Router::new()
            .route(
                "/api/models/{owner}/{name}/tree/{revision}",
                get(listing::list),
            )
            .route(
                "/{owner}/{name}/resolve/{revision}/{file}",
                get(serve::resolve),
            )
            .with_state(Arc::clone(&state));
        let of_storage = Router::new()
            .route("/{owner}/{name}/{file}", get(serve::store))
            .with_state(Arc::clone(&state));
        runtime.spawn(async move { axum::serve(hub, of_hub).await });
        runtime.spawn(async move { axum::serve(storage, of_storage).await });
        HubServer {
            hub: address,
            state,
            runtime: Some(runtime),
        }
    }

    /// What `HF_ENDPOINT` is to be.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.hub)
    }

    /// A model's `source` that is the repository `name`.
    pub fn source(name: &str) -> Value {
        json!({"hub": {"repo": name, "revision": REVISION}})
    }

    /// From now on nothing is given out but to those who show `token`.
    pub fn gate(&self, token: &str) {
        self.log().gate = Some(token.to_owned());
    }

    /// The next reads of `file` meet these faults, one each.
    pub fn next(&self, file: &str, faults: &[Fault]) {
        let faults = faults.iter().rev().cloned().collect();
        self.log().next.insert(file.to_owned(), faults);
    }

    /// From now on every read of `file` meets this fault; with none, it is well again.
    pub fn always(&self, file: &str, fault: Option<Fault>) {
        let mut log = self.log();
        match fault {
            Some(fault) => drop(log.always.insert(file.to_owned(), fault)),
            None => drop(log.always.remove(file)),
        }
    }

    /// The next listings meet these faults, one each.
    pub fn next_listings(&self, faults: &[Fault]) {
        self.log().listings = faults.iter().rev().cloned().collect();
    }

    /// Requests that came in.
    pub fn requests(&self) -> usize {
        self.log().requests
    }

    /// Bytes of each file that were sent so far.
    pub fn sent(&self) -> BTreeMap<String, u64> {
        self.log().sent.clone()
    }

    /// From where the reads of `file` began.
    pub fn ranges(&self, file: &str) -> Vec<u64> {
        self.log().ranges.get(file).cloned().unwrap_or_default()
    }

    /// Whether a token was shown to the storage, which is another origin.
    pub fn leaked(&self) -> bool {
        self.log().leaked
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.state.log()
    }
}

impl Served {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
