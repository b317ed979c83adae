//! A request to an endpoint, retried with backoff until it has a reply or its retry budget is exhausted.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, Url};
use scalequest_engine::heartbeat::beat;
use tokio::sync::watch;

use super::attempt_error::{AttemptError, from_status};
use super::reply::{Reply, ReplyError};
use super::wire::{Api, Request, TokenLimitField, parse_reply, request_body};
use super::{EndpointError, Rejection};
use crate::http::{backoff, error_chain, install_tls_provider, unix_seconds};

/// Attempts at a request that fails while the server replies to others.
const MAX_ATTEMPTS: u32 = 6;

/// Number of refused requests, without any reply, after which the server counts as refusing all.
const MAX_INITIAL_REFUSALS: usize = 5;

/// Timeouts of requests to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Longest wait for one reply.
    pub request: Duration,
    /// Longest time without any reply, over all attempts of all requests.
    pub retry: Duration,
}

impl Timeouts {
    /// Reads `SCALEQUEST_ENDPOINT_TIMEOUT_SECONDS` and `SCALEQUEST_ENDPOINT_RETRY_TIMEOUT_SECONDS`; the default is ten minutes each.
    pub fn from_env() -> Self {
        let seconds = |name: &str| {
            let value = std::env::var(name).ok().and_then(|text| text.parse().ok());
            Duration::from_secs(value.unwrap_or(600))
        };
        Timeouts {
            request: seconds("SCALEQUEST_ENDPOINT_TIMEOUT_SECONDS"),
            retry: seconds("SCALEQUEST_ENDPOINT_RETRY_TIMEOUT_SECONDS"),
        }
    }
}

/// A model behind an endpoint.
pub struct Endpoint {
    client: Client,
    chat: Url,
    completions: Url,
    pooling: Url,
    models: Url,
    model: String,
    key: Option<String>,
    /// The environment variable of the key, for errors.
    key_variable: String,
    timeouts: Timeouts,
    started: Instant,
    /// Number of replies so far.
    replies: AtomicUsize,
    /// Milliseconds from `started` to the latest reply.
    last_reply_millis: AtomicU64,
    refusals: AtomicUsize,
    token_limit_field: AtomicUsize,
    /// Returns why the managed server failed, if the endpoint is one.
    server_failure: Option<Box<dyn Fn() -> Option<String> + Send + Sync>>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the key, which must not reach a log.
        f.debug_struct("Endpoint")
            .field("url", &self.chat.as_str())
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// The model called `model` at `base_url` (up to and with `/v1`). `key_variable` is the environment variable that `key` comes from.
    /// Sends nothing.
    ///
    /// # Errors
    /// The URL or the key is invalid.
    pub fn new(
        base_url: &str,
        model: &str,
        key: Option<String>,
        key_variable: &str,
        timeouts: Timeouts,
    ) -> Result<Self, EndpointError> {
        let base = base_url.trim_end_matches('/');
        // vLLM serves its own APIs next to `/v1`, not below it.
        let root = base.strip_suffix("/v1").unwrap_or(base);
        let join = |base: &str, path: &str| {
            Url::parse(&format!("{base}/{path}"))
                .ok()
                .filter(|url| matches!(url.scheme(), "http" | "https"))
                .ok_or_else(|| {
                    EndpointError::Unusable(format!("`{base_url}` is not an http or https URL"))
                })
        };
        let key = key
            .map(|key| key.trim().to_owned())
            .filter(|key| !key.is_empty());
        if key
            .as_ref()
            .is_some_and(|key| key.bytes().any(|byte| !(0x21..0x7f).contains(&byte)))
        {
            return Err(EndpointError::Denied(format!(
                "the key in {key_variable} has invalid characters: set it again"
            )));
        }
        install_tls_provider();
        // A redirect would carry the prompt, and perhaps the key, to another server.
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .timeout(timeouts.request)
            .user_agent(concat!("scalequest-worker/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                EndpointError::Unavailable(format!(
                    "cannot create a client: {}",
                    error_chain(&error)
                ))
            })?;
        Ok(Endpoint {
            client,
            chat: join(base, "chat/completions")?,
            completions: join(base, "completions")?,
            pooling: join(root, "pooling")?,
            models: join(base, "models")?,
            model: model.to_owned(),
            key,
            key_variable: key_variable.to_owned(),
            timeouts,
            started: Instant::now(),
            replies: AtomicUsize::new(0),
            last_reply_millis: AtomicU64::new(0),
            refusals: AtomicUsize::new(0),
            token_limit_field: AtomicUsize::new(0),
            server_failure: None,
        })
    }

    /// The same endpoint with a managed server; `failure` returns why that failed finally.
    pub fn with_server(
        mut self,
        failure: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.server_failure = Some(Box::new(failure));
        self
    }

    /// Returns the longest time without any reply.
    pub(super) fn retry_timeout(&self) -> Duration {
        self.timeouts.retry
    }

    /// Checks that a managed server is alive or is being restarted.
    ///
    /// # Errors
    /// [`EndpointError::ServerFailed`].
    pub(super) fn check_alive(&self) -> Result<(), EndpointError> {
        match self.server_failure.as_ref().and_then(|failure| failure()) {
            Some(message) => Err(EndpointError::ServerFailed(message)),
            None => Ok(()),
        }
    }

    /// Returns the name under which the model is served.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Sends a request until it has a reply or is rejected finally.
    ///
    /// # Errors
    /// The endpoint cannot be used, or `stop` became true during the backoff.
    pub(super) async fn request(
        &self,
        request: &Request,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Result<Reply, Rejection>, EndpointError> {
        let started = Instant::now();
        let replies_before = self.replies.load(Ordering::Relaxed);
        let mut attempts = 0;
        loop {
            if *stop.borrow() {
                return Err(EndpointError::Stopped);
            }
            let limit_field = self.token_limit_field.load(Ordering::Relaxed);
            let error = match self.attempt(request, limit_field).await {
                Ok(reply) => {
                    self.replies.fetch_add(1, Ordering::Relaxed);
                    beat();
                    let at = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
                    self.last_reply_millis.fetch_max(at, Ordering::Relaxed);
                    return Ok(Ok(reply));
                }
                Err(error) => error,
            };
            self.check_alive()?;
            let (message, retry_after, busy) = match error {
                AttemptError::TooLong(message) => return Ok(Err(Rejection::TooLong(message))),
                AttemptError::Refused(message) => return self.refused(message),
                AttemptError::Denied(message) => {
                    return Err(EndpointError::Denied(self.describe_denied(&message)));
                }
                AttemptError::QuotaExhausted(message) => {
                    return Err(EndpointError::Unavailable(self.describe(&message)));
                }
                AttemptError::OtherTokenLimitField if limit_field == 0 => {
                    self.token_limit_field.store(1, Ordering::Relaxed);
                    continue;
                }
                AttemptError::OtherTokenLimitField => {
                    return self.refused(
                        "it accepts the limit of tokens under neither of its names".into(),
                    );
                }
                AttemptError::Transient {
                    message,
                    retry_after,
                    busy,
                } => (message, retry_after, busy),
            };
            attempts += u32::from(!busy);
            let others_have_replies = self.replies.load(Ordering::Relaxed) > replies_before;
            if attempts >= MAX_ATTEMPTS && others_have_replies {
                return Ok(Err(Rejection::Refused(format!(
                    "{attempts} attempts failed, the last one with {message}"
                ))));
            }
            let last_reply = Duration::from_millis(self.last_reply_millis.load(Ordering::Relaxed));
            let silent_since = started.max(self.started + last_reply);
            if silent_since.elapsed() >= self.timeouts.retry {
                let seconds = self.timeouts.retry.as_secs();
                return Err(EndpointError::Unavailable(self.describe(&format!(
                    "no answer in {seconds} s, the last attempt: {message}"
                ))));
            }
            tracing::debug!(%message, attempts, "the endpoint did not reply, retrying");
            let pause = retry_after
                .unwrap_or_else(|| backoff(attempts.max(1)))
                .min(self.timeouts.retry);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    async fn attempt(&self, request: &Request, limit_field: usize) -> Result<Reply, AttemptError> {
        let limit_field = if limit_field == 0 {
            TokenLimitField::MaxTokens
        } else {
            TokenLimitField::MaxCompletionTokens
        };
        let transient = |message: String| AttemptError::Transient {
            message,
            retry_after: None,
            busy: false,
        };
        let (status, retry_after, text) = self
            .send(self.post(request, limit_field))
            .await
            .map_err(transient)?;
        if !(200..300).contains(&status) {
            return Err(from_status(
                status,
                retry_after.as_deref(),
                unix_seconds(),
                &text,
            ));
        }
        parse_reply(&text, &self.model, request).map_err(|error| match error {
            ReplyError::Malformed(_) => transient(error.to_string()),
            _ => AttemptError::Denied(error.to_string()),
        })
    }

    /// Builds the HTTP request.
    pub(super) fn post(
        &self,
        request: &Request,
        limit_field: TokenLimitField,
    ) -> reqwest::RequestBuilder {
        let url = match request.api {
            Api::Chat => &self.chat,
            Api::Completions { .. } => &self.completions,
            Api::Pooling { .. } => &self.pooling,
        };
        let body = request_body(&self.model, request, limit_field);
        self.client.post(url.clone()).json(&body)
    }

    /// Sends an HTTP request and returns status, `Retry-After` and body of the response.
    pub(super) async fn send(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<(u16, Option<String>, String), String> {
        let request = match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let response = request.send().await.map_err(|error| error_chain(&error))?;
        let status = response.status().as_u16();
        let header = response.headers().get(reqwest::header::RETRY_AFTER);
        let retry_after = header
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let text = response.text().await.map_err(|error| error_chain(&error))?;
        Ok((status, retry_after, text))
    }

    /// Builds a health check; `None` if the base URL does not end in `/v1`.
    pub(super) fn health(&self) -> Option<reqwest::RequestBuilder> {
        let root = self.models.as_str().strip_suffix("/v1/models")?;
        Some(self.client.get(format!("{root}/health")))
    }

    /// Builds a request for the list of models.
    pub(super) fn model_list(&self) -> reqwest::RequestBuilder {
        self.client.get(self.models.clone())
    }

    fn refused(&self, message: String) -> Result<Result<Reply, Rejection>, EndpointError> {
        let refusals = self.refusals.fetch_add(1, Ordering::Relaxed) + 1;
        if refusals >= MAX_INITIAL_REFUSALS && self.replies.load(Ordering::Relaxed) == 0 {
            return Err(EndpointError::Unusable(self.describe(&format!(
                "it refused the first {refusals} requests, the last one with {message}"
            ))));
        }
        Ok(Err(Rejection::Refused(message)))
    }

    /// Returns `message` with the endpoint's name, and with advice if it is about the key.
    pub(super) fn describe_denied(&self, message: &str) -> String {
        let is_about_the_key = ["401", "403"]
            .iter()
            .any(|status| message.contains(&format!("status {status}")));
        let advice = match (is_about_the_key, &self.key) {
            (false, _) => String::new(),
            (true, Some(_)) => format!("; check the key in {}", self.key_variable),
            (true, None) => format!("; no key was sent: set {}", self.key_variable),
        };
        self.describe(&format!("{message}{advice}"))
    }

    /// Returns `message` with the endpoint's name.
    pub(super) fn describe(&self, message: &str) -> String {
        let origin = self.chat.origin().ascii_serialization();
        format!(
            "the endpoint at {origin}, model `{}`: {message}",
            self.model
        )
    }
}
