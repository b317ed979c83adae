//! Serves the progress of the running shard over HTTP: pods have no API access, so the controller polls them. For display only: if the
//! port is taken, the shard runs without it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use scalequest_crds::protocol::progress::{PATH, Progress};

/// The latest progress of a shard, as a line of JSON.
#[derive(Clone, Debug)]
pub struct LatestProgress(Arc<Mutex<String>>);

impl Default for LatestProgress {
    fn default() -> Self {
        let nothing = serde_json::to_string(&Progress::default()).unwrap_or_default();
        LatestProgress(Arc::new(Mutex::new(nothing)))
    }
}

impl LatestProgress {
    /// Replaces the progress.
    pub fn set(&self, line: &str) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.clone_into(&mut latest);
    }

    fn get(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Serves `latest` at `port`, on all addresses of this machine, as long as the process lives.
pub fn start(port: u16, latest: &LatestProgress) {
    let latest = latest.clone();
    std::thread::spawn(move || {
        if let Err(error) = serve(port, latest) {
            tracing::warn!(port, %error, "cannot serve progress");
        }
    });
}

fn serve(port: u16, latest: LatestProgress) -> std::io::Result<()> {
    // Both address families if the machine has them.
    let listener = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
        .or_else(|_| TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))))?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let respond = |State(latest): State<LatestProgress>| async move {
        ([(CONTENT_TYPE, "application/json")], latest.get()).into_response()
    };
    let app = Router::new().route(PATH, get(respond)).with_state(latest);
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(listener, app).await
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn latest_progress_is_served() {
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let latest = LatestProgress::default();
        start(port, &latest);
        let poll = || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
            let request =
                format!("GET {PATH} HTTP/1.1\r\nhost: worker\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            serde_json::from_str::<Progress>(answer.split("\r\n\r\n").nth(1)?).ok()
        };
        let started = Instant::now();
        let first = loop {
            if let Some(answer) = poll() {
                break answer;
            }
            assert!(started.elapsed() < Duration::from_secs(30), "no answer");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(first, Progress::default());
        latest.set(r#"{"activity":"train","done":3,"total":9,"tokens":7}"#);
        assert_eq!(
            poll().map(|progress| (progress.activity, progress.done)),
            Some(("train".into(), 3))
        );
    }
}
