//! Polls workers for shard progress over HTTP, since pods have no API access. Best effort and for display only, and only if the status is due:
//! an unreachable pod merely has no progress.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use scalequest_crds::protocol::progress::{PATH, PORT, Progress};

use super::OwnedObjects;
use super::pod::ObservedPod;
use crate::names::Purpose;

/// Interval between two polls of a run's pods.
pub const POLL_INTERVAL: Duration = Duration::from_secs(15);

/// Delay before the first poll of a pod: short shards are done by then.
const DELAY_MILLIS: i64 = 10_000;

/// Number of pods polled at once.
const CONCURRENCY: usize = 64;

/// Time after which a reconcile no longer waits for pods: those that did not answer have no progress.
const DEADLINE: Duration = Duration::from_secs(5);

/// Timeout of a poll: the worker only repeats its last progress.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Maximum size of an answer in bytes.
const MAX_BYTES: usize = 4096;

/// Returns the pods to poll, now or soon.
fn running_workers(owned: &OwnedObjects) -> impl Iterator<Item = &Arc<ObservedPod>> {
    let pods = owned.pods.iter();
    pods.filter(|pod| pod.identity.purpose == Purpose::Run && pod.is_running())
}

/// Whether the run has pods to poll, now or soon.
pub fn has_running_workers(owned: &OwnedObjects) -> bool {
    running_workers(owned).next().is_some()
}

/// Polls workers. Returns their progress by the uid of their pods.
pub async fn poll_progress(
    client: &reqwest::Client,
    owned: &OwnedObjects,
    now_millis: i64,
) -> BTreeMap<String, Progress> {
    let pollable = running_workers(owned).filter_map(|pod| {
        let is_due = now_millis - pod.started_at_millis? > DELAY_MILLIS;
        Some((pod, pod.address?)).filter(|_| is_due)
    });
    let answers = pollable.map(|(pod, address)| async move {
        let at = SocketAddr::new(address, PORT);
        let answer = tokio::time::timeout(TIMEOUT, get_progress(client, at)).await;
        Some((pod.uid.clone(), answer.ok()??))
    });
    let answers = stream::iter(answers).buffer_unordered(CONCURRENCY);
    let answers = answers.take_until(tokio::time::sleep(DEADLINE));
    answers.filter_map(std::future::ready).collect().await
}

/// Returns the HTTP client that polls workers for progress: without a proxy, since they are in this cluster.
///
/// # Errors
/// The system's certificate authorities cannot be read.
pub fn progress_client() -> reqwest::Result<reqwest::Client> {
    // The client needs a provider of cryptography even for plain HTTP; the error means that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .build()
}

async fn get_progress(client: &reqwest::Client, at: SocketAddr) -> Option<Progress> {
    let request = client.get(format!("http://{at}{PATH}"));
    let mut answer = request.send().await.ok()?;
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.ok()? {
        body.extend_from_slice(&piece);
        if body.len() > MAX_BYTES {
            return None;
        }
    }
    serde_json::from_slice(&body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the progress of a server that answers with `answer`.
    async fn progress_of(answer: String) -> Option<Progress> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        get_progress(&progress_client().unwrap(), at).await
    }

    fn http(body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn invalid_answers_are_ignored() {
        let progress = r#"{"activity":"generate","done":3,"total":9,"tokens":1200}"#;
        let progress = progress_of(http(progress)).await.expect("progress");
        assert_eq!((progress.done, progress.total), (3, 9));
        for answer in [
            http("oops"),
            http(&" ".repeat(MAX_BYTES + 1)),
            "nonsense".into(),
        ] {
            assert_eq!(progress_of(answer).await, None);
        }
    }
}
