//! Requests to the API server: how long they take, and what it answered.

use std::time::Instant;

use super::metrics::Metrics;

/// Awaits a request and records its duration in `metrics`.
pub async fn timed<T>(
    metrics: &Metrics,
    verb: &'static str,
    resource: &'static str,
    request: impl Future<Output = kube::Result<T>>,
) -> kube::Result<T> {
    let started = Instant::now();
    let answer = request.await;
    let code = answer.as_ref().map_or_else(status_code, |_| 200);
    metrics.request(verb, resource, code, started.elapsed());
    answer
}

/// Returns the HTTP status that the API server answered; 0 if it did not answer.
pub fn status_code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}
