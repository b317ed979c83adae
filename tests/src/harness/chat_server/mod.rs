//! An OpenAI-compatible server on loopback with a real model behind it (a tiny model, on our own engine), which misbehaves as it is
//! told to: so a client's answers can be compared with those of a server that never fails. What a request is answered depends on the
//! request alone.

mod answer;

mod fault;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use answer::Model;
pub use fault::Fault;

/// The name under which the model is served.
pub const MODEL: &str = "tiny-chat";

/// A running server; it ends when dropped.
pub struct ChatServer {
    address: SocketAddr,
    state: Arc<Served>,
    runtime: Option<Runtime>,
    end: Option<oneshot::Sender<()>>,
}

struct Served {
    model: Model,
    name: String,
    key: Option<String>,
    script: Mutex<Script>,
}

/// What happens to the requests to come, and what happened to those before.
#[derive(Default)]
struct Script {
    next: Vec<Fault>,
    every: Option<(usize, Vec<Fault>)>,
    about: Option<(String, Fault)>,
    requests: usize,
    /// How often each request (its whole body) was answered.
    answered: BTreeMap<String, usize>,
}

impl ChatServer {
    /// Serves the model in the folder `model` as [`MODEL`]; with `key`, to those only who know it.
    pub fn start(model: &Path, key: Option<&str>) -> Self {
        Self::start_as(MODEL, model, key, (Ipv4Addr::LOCALHOST, 0))
    }

    /// The same under a name, and at an address and port, of one's choice.
    pub fn start_as(name: &str, model: &Path, key: Option<&str>, at: (Ipv4Addr, u16)) -> Self {
        let state = Arc::new(Served {
            model: Model::load(model, name),
            name: name.to_owned(),
            key: key.map(str::to_owned),
            script: Mutex::default(),
        });
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let app = Router::new()
            .route("/v1/models", get(models))
            .route("/v1/chat/completions", post(complete))
            .route("/v1/completions", post(complete))
            .route("/pooling", post(pool))
            .with_state(Arc::clone(&state));
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind(at))
            .expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (end, ended) = oneshot::channel::<()>();
        runtime.spawn(async move {
            tokio::select! {
                served = axum::serve(listener, app) => served.expect("a server"),
                _ = ended => {}
            }
        });
        ChatServer {
            address,
            state,
            runtime: Some(runtime),
            end: Some(end),
        }
    }

    /// The base URL, with `/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The engine of a spec's model that this server serves.
    pub fn engine(&self) -> Value {
        json!({"type": "OpenAI", "openAI": {"baseUrl": self.base_url(), "model": MODEL, "concurrency": 4}})
    }

    /// The next requests meet these faults, one each.
    pub fn next(&self, faults: &[Fault]) {
        let mut script = self.script();
        script.next = faults.to_vec();
        script.next.reverse();
    }

    /// From now on every `count`th request meets one of these faults, in turn.
    pub fn every(&self, count: usize, faults: &[Fault]) {
        self.script().every = Some((count, faults.to_vec()));
    }

    /// From now on every request whose prompt holds `words` meets this fault.
    pub fn about(&self, words: &str, fault: Fault) {
        self.script().about = Some((words.to_owned(), fault));
    }

    /// Requests that came in.
    pub fn requests(&self) -> usize {
        self.script().requests
    }

    /// How often each different request was answered in full.
    pub fn answered(&self) -> BTreeMap<String, usize> {
        self.script().answered.clone()
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.state.script.lock().expect("no panic")
    }
}

impl Drop for ChatServer {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Served {
    fn knows(&self, headers: &HeaderMap) -> bool {
        let Some(key) = &self.key else { return true };
        let sent = headers
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        sent == Some(&format!("Bearer {key}"))
    }

    /// The fault that the next request meets, if it meets one.
    fn fault(&self, prompt: &str) -> Option<Fault> {
        let mut script = self.script.lock().expect("no panic");
        script.requests += 1;
        if let Some((words, fault)) = &script.about
            && prompt.contains(words.as_str())
        {
            return Some(fault.clone());
        }
        if let Some(fault) = script.next.pop() {
            return Some(fault);
        }
        let (count, faults) = script.every.as_ref()?;
        let is_hit = script.requests.is_multiple_of(*count);
        is_hit.then(|| faults[(script.requests / count) % faults.len()].clone())
    }
}

async fn models(State(served): State<Arc<Served>>, headers: HeaderMap) -> Response {
    if !served.knows(&headers) {
        return fault::denied();
    }
    fault::json_body(&json!({"object": "list", "data": [{"id": served.name, "object": "model"}]}))
}

async fn complete(State(served): State<Arc<Served>>, headers: HeaderMap, body: String) -> Response {
    respond(served, &headers, body, false).await
}

async fn pool(State(served): State<Arc<Served>>, headers: HeaderMap, body: String) -> Response {
    respond(served, &headers, body, true).await
}

/// Answers with a text or a value, whichever the model has: as vLLM, a server knows only one of the two.
async fn respond(
    served: Arc<Served>,
    headers: &HeaderMap,
    body: String,
    is_pooling: bool,
) -> Response {
    if served.model.is_scalar() != is_pooling {
        return StatusCode::NOT_FOUND.into_response();
    }
    if !served.knows(headers) {
        return fault::denied();
    }
    let Ok(request) = serde_json::from_str::<Value>(&body) else {
        return (StatusCode::BAD_REQUEST, "no JSON").into_response();
    };
    if request["model"] != served.name {
        return fault::unknown_model();
    }
    let prompt = answer::said(&request).to_owned();
    let fault = served.fault(&prompt);
    if let Some(response) = fault.as_ref().and_then(Fault::instead) {
        return response;
    }
    let state = Arc::clone(&served);
    let compute = move || match is_pooling {
        true => state.model.pooled(&request),
        false => state.model.answer(&request),
    };
    let computed = tokio::task::spawn_blocking(compute).await;
    let answer = match computed.expect("no panic") {
        Ok(answer) => answer,
        Err(too_long) => return fault::too_long(&too_long),
    };
    match fault {
        Some(fault) => fault.corrupt(answer).await,
        None => {
            let mut script = served.script.lock().expect("no panic");
            *script.answered.entry(body).or_default() += 1;
            fault::json_body(&answer)
        }
    }
}
