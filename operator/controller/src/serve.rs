//! HTTP server for liveness, readiness and metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;

use super::metrics::Metrics;

/// Readiness: on standby in the leader election, or synced caches.
pub type Ready = Arc<AtomicBool>;

/// Serves on `address` until the process ends.
///
/// # Errors
/// Cannot listen on the address.
pub async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    ready: Ready,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let text = move || {
        let text = metrics.text();
        async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text) }
    };
    let is_ready = move || {
        let answer = match ready.load(Ordering::Relaxed) {
            true => (StatusCode::OK, "ready\n"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "caches are not synced\n"),
        };
        async move { answer }
    };
    let router = Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(is_ready))
        .route("/metrics", get(text));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "HTTP server failed");
        }
    });
    Ok(())
}
