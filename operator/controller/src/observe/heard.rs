//! What workers say of the shards that they are at, asked of their pods: they have no way to the API server. For display only, and asked for
//! only where it can be shown; a pod that does not answer, or that a network policy hides, costs nothing but the number.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::join_all;
use scalequest_crds::protocol::progress::{PATH, PORT, Progress};

use super::Belongings;
use super::pod::SeenPod;
use crate::names::Purpose;

/// How often the pods of a run are asked.
pub const EVERY: Duration = Duration::from_secs(15);

/// Time after which a pod is asked: most shards are done by then, or have something to say.
const PATIENCE_MILLIS: i64 = 10_000;

/// Pods of a run that are asked in one look.
const ASKED: usize = 32;

/// How long a pod may take to answer. It is a network's way from here and does nothing but repeat its latest word.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Longest answer that is read, in bytes.
const LONGEST: usize = 4096;

/// The pods that can be asked.
fn speakers(belongings: &Belongings, now_millis: i64) -> impl Iterator<Item = (&SeenPod, IpAddr)> {
    let pods = belongings.pods.iter().map(AsRef::as_ref);
    pods.filter_map(move |pod: &SeenPod| {
        let has_begun = now_millis - pod.began_millis? > PATIENCE_MILLIS;
        let speaks = pod.work.purpose == Purpose::Run && pod.ended.is_none();
        Some((pod, pod.address?)).filter(|_| has_begun && speaks)
    })
}

/// Whether any pod can be asked, now or soon.
pub fn are_at_work(belongings: &Belongings) -> bool {
    let pods = belongings.pods.iter();
    pods.into_iter().any(|pod| {
        pod.work.purpose == Purpose::Run && pod.ended.is_none() && pod.began_millis.is_some()
    })
}

/// What workers say, by the uid of their pods.
pub async fn heard(
    client: &reqwest::Client,
    belongings: &Belongings,
    now_millis: i64,
) -> BTreeMap<String, Progress> {
    let asked = speakers(belongings, now_millis).take(ASKED);
    let answers = asked.map(|(pod, address)| async move {
        let at = SocketAddr::new(address, PORT);
        let answer = tokio::time::timeout(TIMEOUT, ask(client, at)).await;
        Some((pod.uid.clone(), answer.ok()??))
    });
    join_all(answers).await.into_iter().flatten().collect()
}

/// A client that asks workers how far they are: straight, since they are in this cluster.
///
/// # Errors
/// The system has no certificate authorities that can be read.
pub fn asker() -> reqwest::Result<reqwest::Client> {
    // The client needs a provider of cryptography even for plain HTTP; the error is that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .build()
}

async fn ask(client: &reqwest::Client, at: SocketAddr) -> Option<Progress> {
    let request = client.get(format!("http://{at}{PATH}"));
    let mut answer = request.send().await.ok()?;
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.ok()? {
        body.extend_from_slice(&piece);
        if body.len() > LONGEST {
            return None;
        }
    }
    serde_json::from_slice(&body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is heard of somebody who says `answer`, as raw bytes.
    async fn heard_of(answer: String) -> Option<Progress> {
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
        ask(&asker().unwrap(), at).await
    }

    fn http(body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn an_answer_is_a_workers_word_or_nothing() {
        let word = r#"{"activity":"generate","done":3,"total":9,"tokens":1200}"#;
        let heard = heard_of(http(word)).await.expect("a word");
        assert_eq!((heard.done, heard.total), (3, 9));
        for answer in [
            http("oops"),
            http(&" ".repeat(LONGEST + 1)),
            "nonsense".into(),
        ] {
            assert_eq!(heard_of(answer).await, None);
        }
    }
}
