//! Sends requests to the hub and follows its redirects. Every wait has a timeout and ends when a stop is requested.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, LOCATION, RANGE};
use reqwest::{Method, Response, Url};
use tokio::runtime::{Builder, Runtime};

use super::token::Token;
use crate::http::{error_chain, install_tls_provider};
use crate::hub::retry::AttemptError;
use crate::hub::{FetchError, ProgressCallback, Timeouts};

/// Largest number of redirects: to the hub, its storage, and a nearby copy of that.
const MAX_REDIRECTS: usize = 6;

/// Timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Interval of checks for a requested stop.
const STOP_POLL: Duration = Duration::from_millis(200);

/// An HTTP client of the hub.
pub(super) struct Client {
    client: reqwest::Client,
    runtime: Runtime,
    endpoint: Url,
    token: Option<Token>,
}

impl Client {
    /// A client of the hub at `endpoint`. It uses the proxies that the environment names.
    pub(super) fn new(
        endpoint: Url,
        token: Option<Token>,
        timeouts: Timeouts,
    ) -> Result<Self, FetchError> {
        let fail = |error: &dyn std::fmt::Display| {
            FetchError::defective(format!("cannot create a client for the hub: {error}"))
        };
        install_tls_provider();
        // Redirects are followed here, since they must not carry the token.
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(timeouts.read)
            .user_agent(concat!("scalequest-worker/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| fail(&error_chain(&error)))?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("fetch")
            .enable_all()
            .build()
            .map_err(|error| fail(&error))?;
        Ok(Client {
            client,
            runtime,
            endpoint,
            token,
        })
    }

    /// Returns the hub's URL.
    pub(super) fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// Returns where the token was found, for messages; `None` if there is no token.
    pub(super) fn token_source(&self) -> Option<&str> {
        self.token.as_ref().map(|token| token.source.as_str())
    }

    /// Whether `url` belongs to the hub itself, which gets the token.
    pub(super) fn is_hub(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.origin()
    }

    /// Sends a request and returns the response after all redirects. `from`: requests only the bytes from there on.
    pub(super) fn send(
        &self,
        method: Method,
        url: &Url,
        from: Option<u64>,
        progress: &ProgressCallback<'_>,
    ) -> Result<Response, AttemptError> {
        let mut url = url.clone();
        for _ in 0..MAX_REDIRECTS {
            let mut request = self.client.request(method.clone(), url.clone());
            // Ranges of a compressed body would be ranges of other bytes.
            request = request.header(ACCEPT_ENCODING, "identity");
            if let Some(from) = from {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            if let Some(token) = self.token.as_ref().filter(|_| self.is_hub(&url)) {
                request = request.bearer_auth(&token.secret);
            }
            // The request is created within the runtime, whose timers its timeouts need.
            let response = self.wait(async { request.send().await }, progress)?;
            let Some(next) = redirect_target(&response) else {
                return Ok(response);
            };
            let next = url.join(&next).ok().filter(|next| {
                matches!(next.scheme(), "http" | "https")
                    && (next.scheme() == "https" || url.scheme() == "http")
            });
            url = next.ok_or_else(|| {
                let from = url.origin().ascii_serialization();
                FetchError::defective(format!(
                    "{from} redirects to an invalid URL, or from https to http"
                ))
            })?;
        }
        Err(AttemptError::Transient {
            message: format!("more than {MAX_REDIRECTS} redirects"),
            retry_after: None,
            answered: true,
        })
    }

    fn wait<T>(
        &self,
        request: impl Future<Output = reqwest::Result<T>>,
        progress: &ProgressCallback<'_>,
    ) -> Result<T, AttemptError> {
        self.runtime.block_on(async {
            let mut request = std::pin::pin!(request);
            loop {
                tokio::select! {
                    result = &mut request => return result.map_err(|error| AttemptError::Transient {
                        // After redirects the host says which server failed.
                        message: match error.url().and_then(Url::host_str) {
                            Some(host) => format!("{host}: {}", error_chain(&error)),
                            None => error_chain(&error),
                        },
                        retry_after: None,
                        answered: false,
                    }),
                    () = tokio::time::sleep(STOP_POLL) => if (progress.is_stopped)() {
                        return Err(FetchError::Stopped.into());
                    }
                }
            }
        })
    }
}

/// Returns the next bytes of a response; `None` at its end.
pub(super) fn next_chunk(
    client: &Client,
    response: &mut Response,
    progress: &ProgressCallback<'_>,
) -> Result<Option<Bytes>, AttemptError> {
    client
        .wait(response.chunk(), progress)
        .map_err(|error| match error {
            // The server has responded, since its body is being read.
            AttemptError::Transient {
                message,
                retry_after,
                ..
            } => AttemptError::Transient {
                message,
                retry_after,
                answered: true,
            },
            other => other,
        })
}

/// Returns the target of a redirect; `None` if the response is none.
fn redirect_target(response: &Response) -> Option<String> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?;
    location.to_str().ok().map(str::to_owned)
}
