//! One question to an endpoint, asked until it is answered or there is no hope left.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, Url};
use tokio::sync::watch;

use super::failure::{Failure, of_status};
use super::reply::{NoReply, Reply};
use super::wire::{LimitName, Question, Shape, reply, request};
use super::{Declined, EndpointError};
use crate::http::{backoff, error_chain, install_tls_provider, unix_seconds};

/// Attempts at a question that the server fails to answer while it answers others.
const ATTEMPTS: u32 = 6;

/// Questions refused, and none answered, from which on the server is taken to refuse all.
const REFUSALS: usize = 5;

/// How long to wait for an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For one answer.
    pub request: Duration,
    /// For any answer at all, over all attempts.
    pub in_all: Duration,
}

impl Patience {
    /// Ten minutes each, or what `SCALEQUEST_ENDPOINT_TIMEOUT_SECONDS` and `SCALEQUEST_ENDPOINT_RETRY_TIMEOUT_SECONDS` say.
    pub fn from_env() -> Self {
        let seconds = |name: &str| {
            let said = std::env::var(name).ok().and_then(|text| text.parse().ok());
            Duration::from_secs(said.unwrap_or(600))
        };
        Patience {
            request: seconds("SCALEQUEST_ENDPOINT_TIMEOUT_SECONDS"),
            in_all: seconds("SCALEQUEST_ENDPOINT_RETRY_TIMEOUT_SECONDS"),
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
    /// Where the key is looked for, for errors.
    key_variable: String,
    patience: Patience,
    began: Instant,
    /// Questions answered so far.
    answered: AtomicUsize,
    /// Milliseconds from `began` to the latest answer.
    answered_at: AtomicU64,
    refused: AtomicUsize,
    limit_name: AtomicUsize,
    /// Why there is no server any more, where it is one of our own.
    failed: Option<Box<dyn Fn() -> Option<String> + Send + Sync>>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key stays out of every log.
        f.debug_struct("Endpoint")
            .field("url", &self.chat.as_str())
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// The model called `model` at `base_url` (up to and with `/v1`); `key_variable` is the environment variable that `key` comes from.
    /// Nothing is sent.
    ///
    /// # Errors
    /// The URL or the key cannot be used.
    pub fn new(
        base_url: &str,
        model: &str,
        key: Option<String>,
        key_variable: &str,
        patience: Patience,
    ) -> Result<Self, EndpointError> {
        let base = base_url.trim_end_matches('/');
        // vLLM has what the OpenAI API does not know beside it, not in it.
        let beside = base.strip_suffix("/v1").unwrap_or(base);
        let join = |base: &str, path: &str| {
            Url::parse(&format!("{base}/{path}"))
                .ok()
                .filter(|url| matches!(url.scheme(), "http" | "https"))
                .ok_or_else(|| {
                    EndpointError::Denied(format!("`{base_url}` is no http or https URL"))
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
                "the key in {key_variable} holds characters that no key has: set it anew"
            )));
        }
        install_tls_provider();
        // A redirected request would carry the prompt, and perhaps the key, to where nobody meant it to go.
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .timeout(patience.request)
            .user_agent(concat!("scalequest-worker/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                EndpointError::Unavailable(format!("cannot make a client: {}", error_chain(&error)))
            })?;
        Ok(Endpoint {
            client,
            chat: join(base, "chat/completions")?,
            completions: join(base, "completions")?,
            pooling: join(beside, "pooling")?,
            models: join(base, "models")?,
            model: model.to_owned(),
            key,
            key_variable: key_variable.to_owned(),
            patience,
            began: Instant::now(),
            answered: AtomicUsize::new(0),
            answered_at: AtomicU64::new(0),
            refused: AtomicUsize::new(0),
            limit_name: AtomicUsize::new(0),
            failed: None,
        })
    }

    /// The same endpoint, whose server is one of our own: `failed` says why there is none any more.
    pub fn watched(mut self, failed: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        self.failed = Some(Box::new(failed));
        self
    }

    /// How long to wait for any answer at all.
    pub(super) fn in_all(&self) -> Duration {
        self.patience.in_all
    }

    /// Whether there will be answers again.
    ///
    /// # Errors
    /// The server of our own cannot be kept up.
    pub(super) fn is_kept_up(&self) -> Result<(), EndpointError> {
        match self.failed.as_ref().and_then(|failed| failed()) {
            Some(message) => Err(EndpointError::Broken(message)),
            None => Ok(()),
        }
    }

    /// The name under which the model is served.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Asks `question` until it is answered, or declined for good.
    ///
    /// # Errors
    /// The endpoint cannot be used; or `stop` became true while it was waited for the next attempt.
    pub(super) async fn ask(
        &self,
        question: &Question,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Result<Reply, Declined>, EndpointError> {
        let began = Instant::now();
        let answered_before = self.answered.load(Ordering::Relaxed);
        let mut attempts = 0;
        loop {
            if *stop.borrow() {
                return Err(EndpointError::Stopped);
            }
            let limit_name = self.limit_name.load(Ordering::Relaxed);
            let failure = match self.attempt(question, limit_name).await {
                Ok(reply) => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    let at = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
                    self.answered_at.fetch_max(at, Ordering::Relaxed);
                    return Ok(Ok(reply));
                }
                Err(failure) => failure,
            };
            self.is_kept_up()?;
            let (message, after, busy) = match failure {
                Failure::TooLong(message) => return Ok(Err(Declined::TooLong(message))),
                Failure::Refused(message) => return self.refused(message),
                Failure::Denied(message) => {
                    return Err(EndpointError::Denied(self.denied(&message)));
                }
                Failure::Exhausted(message) => {
                    return Err(EndpointError::Unavailable(self.named(&message)));
                }
                Failure::OtherLimitName if limit_name == 0 => {
                    self.limit_name.store(1, Ordering::Relaxed);
                    continue;
                }
                Failure::OtherLimitName => {
                    return self
                        .refused("it takes the limit of tokens under neither of its names".into());
                }
                Failure::Passing {
                    message,
                    after,
                    busy,
                } => (message, after, busy),
            };
            attempts += u32::from(!busy);
            let others_are_answered = self.answered.load(Ordering::Relaxed) > answered_before;
            if attempts >= ATTEMPTS && others_are_answered {
                return Ok(Err(Declined::Refused(format!(
                    "{attempts} attempts failed, the last one with {message}"
                ))));
            }
            let silent_since = began
                .max(self.began + Duration::from_millis(self.answered_at.load(Ordering::Relaxed)));
            if silent_since.elapsed() >= self.patience.in_all {
                let seconds = self.patience.in_all.as_secs();
                return Err(EndpointError::Unavailable(self.named(&format!(
                    "no answer in {seconds} s, the last attempt: {message}"
                ))));
            }
            tracing::debug!(%message, attempts, "the endpoint did not answer, asking again");
            let pause = after
                .unwrap_or_else(|| backoff(attempts.max(1)))
                .min(self.patience.in_all);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    async fn attempt(&self, question: &Question, limit_name: usize) -> Result<Reply, Failure> {
        let limit = if limit_name == 0 {
            LimitName::MaxTokens
        } else {
            LimitName::MaxCompletionTokens
        };
        let passing = |message: String| Failure::Passing {
            message,
            after: None,
            busy: false,
        };
        let (status, retry_after, text) = self
            .send(self.post(question, limit))
            .await
            .map_err(passing)?;
        if !(200..300).contains(&status) {
            return Err(of_status(
                status,
                retry_after.as_deref(),
                unix_seconds(),
                &text,
            ));
        }
        reply(&text, &self.model, question).map_err(|no_reply| match no_reply {
            NoReply::Garbage(_) => passing(no_reply.to_string()),
            _ => Failure::Denied(no_reply.to_string()),
        })
    }

    /// The request that asks a question.
    pub(super) fn post(&self, question: &Question, limit: LimitName) -> reqwest::RequestBuilder {
        let url = match question.shape {
            Shape::Conversation => &self.chat,
            Shape::Prefix { .. } => &self.completions,
            Shape::Scored { .. } => &self.pooling,
        };
        let body = request(&self.model, question, limit);
        self.client.post(url.clone()).json(&body)
    }

    /// Status, `Retry-After` and body of the response to a request.
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

    /// A request that asks whether the server is well; none where the base URL does not end in `/v1`.
    pub(super) fn health(&self) -> Option<reqwest::RequestBuilder> {
        let root = self.models.as_str().strip_suffix("/v1/models")?;
        Some(self.client.get(format!("{root}/health")))
    }

    /// A request for the list of models.
    pub(super) fn list(&self) -> reqwest::RequestBuilder {
        self.client.get(self.models.clone())
    }

    fn refused(&self, message: String) -> Result<Result<Reply, Declined>, EndpointError> {
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if refused >= REFUSALS && self.answered.load(Ordering::Relaxed) == 0 {
            return Err(EndpointError::Denied(self.named(&format!(
                "it refused the first {refused} questions, the last one with {message}"
            ))));
        }
        Ok(Err(Declined::Refused(message)))
    }

    /// `message`, with the advice that fits a request that was denied.
    pub(super) fn denied(&self, message: &str) -> String {
        let is_about_the_key = ["401", "403"]
            .iter()
            .any(|status| message.contains(&format!("status {status}")));
        let advice = match (is_about_the_key, &self.key) {
            (false, _) => String::new(),
            (true, Some(_)) => format!("; check the key in {}", self.key_variable),
            (true, None) => format!("; no key was sent: set {}", self.key_variable),
        };
        self.named(&format!("{message}{advice}"))
    }

    /// `message`, with the endpoint's name before it.
    pub(super) fn named(&self, message: &str) -> String {
        let place = self.chat.origin().ascii_serialization();
        format!(
            "the endpoint at {place}, asked for model `{}`: {message}",
            self.model
        )
    }
}
