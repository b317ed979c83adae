//! Probes an endpoint before any paid request: whether it responds, accepts the key, and serves the model.

use std::time::{Duration, Instant};

use scalequest_engine::heartbeat::beat;
use serde::Deserialize;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::reply::ReplyError;
use super::wire::{Request, TokenLimitField, parse_reply};
use super::{Endpoint, EndpointError};

/// Attempts to reach the endpoint.
const MAX_ATTEMPTS: u32 = 3;

/// Pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(300);

/// How long to wait for a server that is starting.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Interval of readiness checks.
const READINESS_POLL: Duration = Duration::from_millis(200);

/// Largest number of served models that an error lists.
const MAX_LISTED: usize = 8;

#[derive(Deserialize)]
struct ModelList {
    data: Vec<ListedModel>,
}

#[derive(Deserialize)]
struct ListedModel {
    id: String,
}

impl Endpoint {
    /// Probes whether the endpoint serves the model, by its list of models. Returns a warning if the server has no such list.
    ///
    /// # Errors
    /// The endpoint does not respond, denies the key, or lists only other models.
    pub fn probe(&self, runtime: &Runtime) -> Result<Option<String>, EndpointError> {
        runtime.block_on(async {
            let started = Instant::now();
            let mut attempt = 1;
            loop {
                match self.send(self.model_list()).await {
                    // Servers return this status while they load the model.
                    Ok((503, _, _)) if started.elapsed() < START_TIMEOUT => {}
                    Ok((500.., _, _)) | Err(_) if attempt < MAX_ATTEMPTS => attempt += 1,
                    Ok((status, _, text)) => return self.check_model_list(status, &text),
                    Err(message) => {
                        return Err(EndpointError::Unavailable(self.describe(&format!(
                            "{message}; start the server or correct engine.openAI.baseUrl"
                        ))));
                    }
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        })
    }

    /// Probes whether the endpoint replies to `request`: whether the key, the account's quota and the model's permissions suffice. A
    /// rejection of this one request is a reply.
    ///
    /// # Errors
    /// As for the requests of a stage.
    pub fn probe_request(&self, runtime: &Runtime, request: &Request) -> Result<(), EndpointError> {
        let (_stop, stopped) = watch::channel(false);
        let reply = runtime.block_on(self.request(request, stopped))?;
        if let Err(rejection) = reply {
            tracing::warn!(?rejection, "the endpoint rejects the request of the probe");
        }
        Ok(())
    }

    /// Probes whether the endpoint returns the value of the model's scalar head, by a request for one: vLLM does so for a reward model, and
    /// for no model that generates text.
    ///
    /// # Errors
    /// The endpoint does not respond, responds as another model, or its head has more than one output.
    pub fn has_scalar_head(&self, runtime: &Runtime) -> Result<bool, EndpointError> {
        let request = Request::score("What is 1 + 1?".into(), "2".into());
        runtime.block_on(async {
            let mut attempt = 1;
            loop {
                let post = self.post(&request, TokenLimitField::MaxTokens);
                let failure = match self.send(post).await {
                    Ok((200..300, _, text)) => {
                        return match parse_reply(&text, self.model(), &request) {
                            Ok(_) => Ok(true),
                            // Some servers return a page for every path.
                            Err(ReplyError::Malformed(_)) => Ok(false),
                            Err(other) => {
                                Err(EndpointError::Unusable(self.describe(&other.to_string())))
                            }
                        };
                    }
                    Ok((429 | 500 | 502..600, _, text)) => text,
                    Ok(_) => return Ok(false),
                    Err(message) => message,
                };
                if attempt == MAX_ATTEMPTS {
                    return Err(EndpointError::Unavailable(self.describe(&format!(
                        "cannot probe it for values of a reward model (/pooling): {failure}"
                    ))));
                }
                attempt += 1;
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        })
    }

    /// Waits until the server is healthy (`/health` of vLLM, llama.cpp and `transformers serve`) or lists its models.
    ///
    /// # Errors
    /// The server is not ready within the retry timeout, its process failed, or `is_stopped` became true.
    pub fn wait_until_ready(
        &self,
        runtime: &Runtime,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), EndpointError> {
        let started = Instant::now();
        loop {
            let requests = [self.health(), Some(self.model_list())];
            let mut last = String::new();
            for request in requests.into_iter().flatten() {
                last = match runtime.block_on(self.send(request)) {
                    Ok((200..300, ..)) => return Ok(()),
                    Ok((status, ..)) => format!("status {status}"),
                    Err(message) => message,
                };
            }
            self.check_alive()?;
            // The start of a server has a timeout of its own.
            beat();
            if is_stopped() {
                return Err(EndpointError::Stopped);
            }
            let waited = started.elapsed();
            if waited >= self.retry_timeout() {
                let seconds = waited.as_secs();
                return Err(EndpointError::ServerFailed(self.describe(&format!(
                    "the server was not ready in {seconds} s: {last}"
                ))));
            }
            std::thread::sleep(READINESS_POLL);
        }
    }

    fn check_model_list(&self, status: u16, text: &str) -> Result<Option<String>, EndpointError> {
        match status {
            200..=299 => {}
            404 | 405 | 501 => {
                return Ok(Some(self.describe(
                    "it does not list its models, so whether it serves this one is not known yet",
                )));
            }
            500.. => {
                return Err(EndpointError::Unavailable(self.describe(&format!(
                    "status {status} of the request for its list of models"
                ))));
            }
            _ => {
                return Err(EndpointError::Denied(self.describe_denied(&format!(
                    "status {status} of the request for its list of models"
                ))));
            }
        }
        let listed: ModelList = serde_json::from_str(text).map_err(|error| {
            EndpointError::Unavailable(self.describe(&format!(
                "its list of models is invalid ({error}): engine.openAI.baseUrl is the URL of an OpenAI-compatible API, up to and with /v1"
            )))
        })?;
        if listed.data.iter().any(|served| served.id == self.model()) {
            return Ok(None);
        }
        let names: Vec<String> = listed
            .data
            .iter()
            .take(MAX_LISTED)
            .map(|served| format!("`{}`", served.id))
            .collect();
        let more = if listed.data.len() > MAX_LISTED {
            ", …"
        } else {
            ""
        };
        Err(EndpointError::Unavailable(self.describe(
            &match names.is_empty() {
                true => "it serves no model".to_owned(),
                false => format!(
                    "it does not serve it, but {}{more}: correct engine.openAI.model",
                    names.join(", ")
                ),
            },
        )))
    }
}
