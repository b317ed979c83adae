//! A model behind an endpoint: sends requests, stores replies as soon as they arrive, and returns them in order. It knows no
//! stage and no row.

use scalequest_crds::protocol::cause::Cause;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::protocol::task;
use scalequest_crds::protocol::task::{
    ModelLocation, ModelServer, ModelUse, SERVED_MODEL, SERVER_URL,
};
use scalequest_crds::v1alpha1::{RejectReason, Sampling};
use tokio::runtime::Runtime;

use super::response_cache::{RequestKey, ResponseCache};
use super::{Completion, GeneratedText, GeneratedTexts, keyed_rng, resolve_sampling};
use crate::openai::{self, Api, Endpoint, EndpointError, ManagedServer, Rejection, Reply, Request};
use crate::stages::StageError;
use crate::stages::open_model::open_model;
use crate::stages::shard::Shard;

/// A model behind an endpoint.
pub(super) struct EndpointModel {
    endpoint: Arc<Endpoint>,
    runtime: Runtime,
    concurrency: usize,
    cache: RefCell<ResponseCache>,
    compute_backend: String,
    /// The server that this worker started; it is stopped when this is dropped.
    _server: Option<ManagedServer>,
}

/// Concurrent requests to a server of this task's own.
const CONCURRENCY: usize = 16;

impl EndpointModel {
    /// Connects to the endpoint of a model: a remote one, or a server of this task's own, which is started and waited for.
    /// Returns `None` if the built-in engine runs the model.
    ///
    /// # Errors
    /// The URL or the key cannot be used, the model's files are not the accepted ones, the server does not become ready, the
    /// workspace cannot be read, or the task is cancelled.
    pub(super) fn for_model(
        shard: &Shard<'_>,
        model: &ModelUse,
    ) -> Result<Option<Self>, StageError> {
        match (&model.location, &model.server) {
            (ModelLocation::Endpoint(at), _) => Self::open(shard, model, at).map(Some),
            (_, Some(server)) => match std::env::var(SERVER_URL) {
                Ok(url) => Self::join_sidecar(shard, model, server, &url).map(Some),
                Err(_) => Self::start_server(shard, model, server).map(Some),
            },
            (_, None) => Ok(None),
        }
    }

    /// Opens a remote endpoint.
    fn open(shard: &Shard<'_>, model: &ModelUse, at: &task::Endpoint) -> Result<Self, StageError> {
        let (endpoint, runtime) = openai::open(&model.name, &at.base_url, &at.model)?;
        Ok(EndpointModel {
            compute_backend: format!("endpoint:{}", at.model),
            endpoint: Arc::new(endpoint),
            runtime,
            concurrency: usize::try_from(at.concurrency).unwrap_or(1),
            cache: RefCell::new(ResponseCache::load(shard)?),
            _server: None,
        })
    }

    /// Starts a server for this task.
    fn start_server(
        shard: &Shard<'_>,
        model: &ModelUse,
        server: &ModelServer,
    ) -> Result<Self, StageError> {
        let path = open_model(shard, model)?.path().to_owned();
        shard.cancellation.check()?;
        shard.reporter.set_activity("start server");
        let own = ManagedServer::start(&server.command, &path)?;
        let (endpoint, runtime) =
            openai::open(&model.name, own.base_url(), &path.display().to_string())?;
        let endpoint = endpoint.with_server(own.failure());
        Self::wait_until_ready(shard, server, endpoint, runtime, Some(own))
    }

    /// Connects to the server that runs as a sidecar, with the model that an init container prepared.
    fn join_sidecar(
        shard: &Shard<'_>,
        model: &ModelUse,
        server: &ModelServer,
        url: &str,
    ) -> Result<Self, StageError> {
        shard.cancellation.check()?;
        shard.reporter.set_activity("wait for server");
        let (endpoint, runtime) = openai::open(&model.name, url, SERVED_MODEL)?;
        Self::wait_until_ready(shard, server, endpoint, runtime, None)
    }

    fn wait_until_ready(
        shard: &Shard<'_>,
        server: &ModelServer,
        endpoint: Endpoint,
        runtime: Runtime,
        own: Option<ManagedServer>,
    ) -> Result<Self, StageError> {
        endpoint.wait_until_ready(&runtime, &|| shard.cancellation.is_cancelled())?;
        let program = server.command.first().map_or("", String::as_str);
        let program = program.rsplit('/').next().unwrap_or_default();
        Ok(EndpointModel {
            compute_backend: format!("server:{program}"),
            endpoint: Arc::new(endpoint),
            runtime,
            concurrency: CONCURRENCY,
            cache: RefCell::new(ResponseCache::load(shard)?),
            _server: own,
        })
    }

    /// Sends `requests`, each with its key, and calls `on_reply` with their indices, in order. Requests that were answered in
    /// an earlier attempt are not sent again. `group`: requests of one row, for progress.
    ///
    /// # Errors
    /// The endpoint or the workspace cannot be used, or the task is cancelled; replies so far are stored.
    pub(super) fn send(
        &self,
        shard: &Shard<'_>,
        requests: Vec<(RequestKey, Request)>,
        group: usize,
        on_reply: &mut dyn FnMut(usize, Result<Reply, Rejection>),
    ) -> Result<(), StageError> {
        let mut cache = self.cache.borrow_mut();
        let (mut keys, mut unanswered, mut pending) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (index, (key, request)) in requests.into_iter().enumerate() {
            match cache.get(key) {
                Some(reply) => {
                    pending.insert(index, Ok(reply.clone()));
                }
                None => unanswered.push((index, request)),
            }
            keys.push(key);
        }
        let (base, mut next, mut tokens) = (shard.progress_base.get(), 0, 0);
        let mut deliver = |pending: &mut BTreeMap<usize, Result<Reply, Rejection>>| {
            while let Some(reply) = pending.remove(&next) {
                tokens += reply.as_ref().map_or(0, Reply::tokens);
                on_reply(next, reply);
                next += 1;
            }
            shard.reporter.report(Progress {
                activity: shard.task.id.stage.slug().into(),
                done: base.rows + (next / group.max(1)) as i64,
                total: shard.range.end - shard.range.start,
                tokens: base.tokens + tokens,
                loss: None,
            });
        };
        deliver(&mut pending);
        let mut store = |replies: Vec<(usize, Result<Reply, Rejection>)>| {
            let answered = replies
                .iter()
                .filter_map(|(index, reply)| Some((keys[*index], reply.as_ref().ok()?)));
            cache.insert(shard, answered)?;
            pending.extend(replies);
            deliver(&mut pending);
            Ok(())
        };
        self.endpoint.request_all::<StageError>(
            &self.runtime,
            self.concurrency,
            unanswered,
            &|| shard.cancellation.is_cancelled(),
            &mut store,
        )
    }

    /// Returns the name of the endpoint's model or of the server.
    pub(super) fn compute_backend(&self) -> String {
        self.compute_backend.clone()
    }
}

/// Returns the completion of one prompt: its texts, unless the endpoint declined one of them.
pub(super) fn completion(replies: Vec<Result<Reply, Rejection>>) -> Completion {
    let mut generated = GeneratedTexts {
        prompt_tokens: 0,
        texts: Vec::with_capacity(replies.len()),
    };
    for reply in replies {
        let reply = match reply {
            Ok(reply) => reply,
            Err(Rejection::TooLong(detail)) => {
                return Completion::Rejected(RejectReason::PromptTooLong, detail);
            }
            Err(Rejection::Refused(detail)) => {
                return Completion::Rejected(RejectReason::Refused, detail);
            }
        };
        let tokens = reply
            .new_tokens
            .and_then(|tokens| i32::try_from(tokens).ok());
        // The endpoint bills the prompt with each of its samples.
        generated.prompt_tokens += reply.prompt_tokens.unwrap_or(0);
        generated.texts.push(GeneratedText {
            tokens: tokens.unwrap_or(0),
            finished: reply.finished,
            text: reply.text,
        });
    }
    Completion::Generated(generated)
}

/// Creates a request to an endpoint; `sample` keys its seed.
pub(super) fn request(
    shard: &Shard<'_>,
    api: Api,
    text: String,
    sampling: &Sampling,
    sample: (i64, i32),
) -> Request {
    let resolved = resolve_sampling(sampling);
    let max_new_tokens = sampling
        .max_new_tokens
        .and_then(|tokens| u32::try_from(tokens).ok());
    let bits = keyed_rng(shard, None).bits(sample.0 as u64, sample.1 as u64);
    Request {
        text,
        api,
        temperature: resolved.temperature,
        top_p: resolved.top_p,
        top_k: resolved.top_k,
        max_new_tokens: max_new_tokens.unwrap_or(512),
        // 31 bits: some servers take a signed number.
        seed: (bits >> 33) as u32,
        top_logprobs: false,
    }
}

impl From<EndpointError> for StageError {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::Stopped => StageError::Stopped,
            EndpointError::Unusable(message) => StageError::Permanent(message),
            EndpointError::Denied(message) => StageError::Transient {
                cause: Cause::AccessDenied,
                message,
            },
            EndpointError::Unavailable(message) => StageError::Transient {
                cause: Cause::EndpointUnavailable,
                message,
            },
            EndpointError::ServerFailed(message) => StageError::Unexpected(message),
        }
    }
}
