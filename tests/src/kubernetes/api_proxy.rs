//! A proxy between one client and the API server that counts what the client writes, and can cut it off at a chosen write: that one is
//! committed, but its answer is never given, and nothing gets through any more until the proxy is opened again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kube::Client;
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// A running proxy.
#[derive(Debug)]
pub struct ApiProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    client: Client,
    writes: AtomicU64,
    cut_at: AtomicU64,
    is_cut: AtomicBool,
    cut: Notify,
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
        let shared = Arc::new(Shared {
            client: super::cluster::client(kubeconfig).await,
            writes: AtomicU64::new(0),
            cut_at: AtomicU64::new(u64::MAX),
            is_cut: AtomicBool::new(false),
            cut: Notify::new(),
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
        while !self.shared.is_cut.load(Ordering::SeqCst) {
            let cut = self.shared.cut.notified();
            let soon = tokio::time::timeout(std::time::Duration::from_millis(200), cut);
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

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let is_write = !matches!(*request.method(), Method::GET | Method::HEAD);
    if shared.is_cut.load(Ordering::SeqCst) {
        return never().await;
    }
    match forward(&shared.client, request).await {
        Ok(response) => {
            if is_write && response.status().is_success() {
                let made = shared.writes.fetch_add(1, Ordering::SeqCst) + 1;
                if made == shared.cut_at.load(Ordering::SeqCst) {
                    shared.is_cut.store(true, Ordering::SeqCst);
                    shared.cut.notify_waiters();
                    return never().await;
                }
            }
            response
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

/// An answer that does not come: the client is killed first.
async fn never() -> Response {
    std::future::pending().await
}

async fn forward(
    client: &Client,
    request: Request,
) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, 16 << 20).await?;
    // The client puts its own in.
    parts.headers.remove(header::HOST);
    parts.headers.remove(header::AUTHORIZATION);
    parts.headers.remove(header::CONTENT_LENGTH);
    let request = axum::http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    let response = client.send(request).await?;
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::TRANSFER_ENCODING);
    parts.headers.remove(header::CONNECTION);
    Ok(Response::from_parts(parts, Body::new(body)))
}
