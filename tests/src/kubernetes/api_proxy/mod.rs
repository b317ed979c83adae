//! A proxy between one client and the API server. It counts what the client asks for and how often it is refused, can cut the client off at
//! a chosen write (that one is committed, its answer never given, and nothing gets through any more until the proxy is opened again), can
//! disturb both directions by a seeded plan ([`Faults`]), and can speak for another user. It knows nothing of what the client is.

mod call;

mod faults;

mod watch;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kube::Client;
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub use call::Call;
use faults::Fault;
pub use faults::Faults;

/// A running proxy.
#[derive(Debug)]
pub struct ApiProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// How a proxy treats its client.
#[derive(Clone, Debug, Default)]
pub struct Treatment {
    /// What goes wrong.
    pub faults: Faults,
    /// The user for whom the proxy speaks; the kubeconfig's own where there is none.
    pub user: Option<String>,
}

/// How often something was asked for, and how often the API server did not allow it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// In all.
    pub times: u64,
    /// With an answer of the API server that has come.
    pub answered: u64,
    /// With the answer 403.
    pub forbidden: u64,
}

struct Shared {
    client: Client,
    treatment: Treatment,
    writes: AtomicU64,
    cut_at: AtomicU64,
    is_cut: AtomicBool,
    changed: Notify,
    asked: Mutex<BTreeMap<Call, Asked>>,
    disturbed: Mutex<BTreeMap<&'static str, u64>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("writes", &self.writes)
            .finish_non_exhaustive()
    }
}

impl ApiProxy {
    /// Starts a proxy that speaks to the API server with the rights of the user of `kubeconfig`.
    pub async fn start(kubeconfig: &Path) -> Self {
        Self::start_with(kubeconfig, Treatment::default()).await
    }

    /// Starts a proxy that treats its client so.
    pub async fn start_with(kubeconfig: &Path, treatment: Treatment) -> Self {
        let shared = Arc::new(Shared {
            client: super::client::client(kubeconfig).await,
            treatment,
            writes: AtomicU64::new(0),
            cut_at: AtomicU64::new(u64::MAX),
            is_cut: AtomicBool::new(false),
            changed: Notify::new(),
            asked: Mutex::default(),
            disturbed: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("the proxy serves");
        });
        ApiProxy {
            address,
            shared,
            server,
        }
    }

    /// Cuts the client off when it makes its `n`-th write from now.
    pub fn cut_at(&self, n: u64) {
        let at = self.writes() + n;
        self.shared.cut_at.store(at, Ordering::SeqCst);
    }

    /// Waits until the client is cut off.
    pub async fn is_cut(&self) {
        let is_cut = || self.shared.is_cut.load(Ordering::SeqCst);
        self.until(is_cut).await;
    }

    /// Waits until the client has made `n` writes.
    ///
    /// # Panics
    /// If it does not make so many in five minutes.
    pub async fn has_written(&self, n: u64) {
        let made = self.until(|| self.writes() >= n);
        let made = tokio::time::timeout(std::time::Duration::from_secs(300), made).await;
        assert!(made.is_ok(), "{} writes were made, not {n}", self.writes());
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        while !is_so() {
            let changed = self.shared.changed.notified();
            let soon = tokio::time::timeout(std::time::Duration::from_millis(200), changed);
            let _ = soon.await;
        }
    }

    /// Lets everything through again.
    pub fn open(&self) {
        self.shared.cut_at.store(u64::MAX, Ordering::SeqCst);
        self.shared.is_cut.store(false, Ordering::SeqCst);
    }

    /// Writes so far that the API server has taken.
    pub fn writes(&self) -> u64 {
        self.shared.writes.load(Ordering::SeqCst)
    }

    /// What was asked for so far.
    pub fn asked(&self) -> BTreeMap<Call, Asked> {
        self.shared
            .asked
            .lock()
            .expect("no panic while locked")
            .clone()
    }

    /// How often what went wrong so far.
    pub fn disturbed(&self) -> BTreeMap<&'static str, u64> {
        let disturbed = self.shared.disturbed.lock();
        disturbed.expect("no panic while locked").clone()
    }

    /// Writes a kubeconfig that leads here.
    pub fn kubeconfig(&self, directory: &Path) -> PathBuf {
        let path = directory.join(format!("proxy-{}.kubeconfig", self.address.port()));
        let config = json!({
            "apiVersion": "v1", "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "user", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "user"}}],
            "current-context": "proxy",
        });
        std::fs::write(&path, config.to_string()).expect("a written file");
        path
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    /// Notes a request; which of its kind it is, from 0.
    fn note(&self, call: &Call) -> u64 {
        let mut asked = self.asked.lock().expect("no panic while locked");
        let asked = asked.entry(call.clone()).or_default();
        asked.times += 1;
        asked.times - 1
    }

    fn note_answer(&self, call: &Call, code: StatusCode) {
        let mut asked = self.asked.lock().expect("no panic while locked");
        let asked = asked.entry(call.clone()).or_default();
        asked.answered += 1;
        asked.forbidden += u64::from(code == StatusCode::FORBIDDEN);
    }

    fn note_disturbed(&self, what: &'static str) {
        let mut disturbed = self.disturbed.lock().expect("no panic while locked");
        *disturbed.entry(what).or_default() += 1;
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    if shared.is_cut.load(Ordering::SeqCst) {
        return never().await;
    }
    let call = Call::of(&request);
    let nth = shared.note(&call);
    let fault = shared.treatment.faults.of_request(&call, nth);
    if let Some(fault) = fault {
        shared.note_disturbed(fault.name());
    }
    if let Some(Fault::Refused(code)) = fault {
        return refusal(code);
    }
    match forward(&shared, request).await {
        Ok(response) => answer(&shared, call, fault, response).await,
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

async fn answer(
    shared: &Arc<Shared>,
    call: Call,
    fault: Option<Fault>,
    response: Response,
) -> Response {
    shared.note_answer(&call, response.status());
    if call.is_write() && response.status().is_success() {
        let made = shared.writes.fetch_add(1, Ordering::SeqCst) + 1;
        if made == shared.cut_at.load(Ordering::SeqCst) {
            shared.is_cut.store(true, Ordering::SeqCst);
            shared.changed.notify_waiters();
            return never().await;
        }
        shared.changed.notify_waiters();
    }
    if fault == Some(Fault::AnswerLost) {
        return lost();
    }
    if call.verb == "watch" && shared.treatment.faults.events > 0 {
        let shared = Arc::clone(shared);
        return response.map(|body| watch::disturbed(body, shared, call));
    }
    response
}

/// An answer that does not come: the client is killed first.
async fn never() -> Response {
    std::future::pending().await
}

/// An answer that breaks off before its first byte.
fn lost() -> Response {
    let broken = std::io::Error::other("the answer is lost");
    let body = futures::stream::once(futures::future::ready(Err::<
        axum::body::Bytes,
        std::io::Error,
    >(broken)));
    Response::new(Body::from_stream(body))
}

/// What the API server says where it does not do what it is asked.
fn refusal(code: u16) -> Response {
    let reason = match code {
        409 => "Conflict",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "refused by the tests", "reason": reason, "code": code,
    });
    let mut response = Response::new(Body::from(status.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).expect("a status code");
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if code == 429 {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

async fn forward(
    shared: &Shared,
    request: Request,
) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, 16 << 20).await?;
    // The client puts its own in.
    parts.headers.remove(header::HOST);
    parts.headers.remove(header::AUTHORIZATION);
    parts.headers.remove(header::CONTENT_LENGTH);
    if let Some(user) = &shared.treatment.user {
        parts.headers.insert("impersonate-user", user.parse()?);
    }
    let request = axum::http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    let response = shared.client.send(request).await?;
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::TRANSFER_ENCODING);
    parts.headers.remove(header::CONNECTION);
    Ok(Response::from_parts(parts, Body::new(body)))
}
