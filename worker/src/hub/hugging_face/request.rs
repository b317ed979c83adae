//! A request to the hub and to whom it redirects, one after another: every wait has an end and heeds the wish to stop.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, LOCATION, RANGE};
use reqwest::{Method, Response, Url};
use tokio::runtime::{Builder, Runtime};

use super::token::Token;
use crate::http::{chain, install_tls_provider};
use crate::hub::attempts::Trouble;
use crate::hub::{FetchError, Patience, Watch};

/// Redirects that are followed: hub, storage, and its nearest copy.
const REDIRECTS: usize = 6;

/// Time in which a connection comes about, if it does.
const CONNECT: Duration = Duration::from_secs(10);

/// Pause between two looks at the wish to stop.
const LOOK: Duration = Duration::from_millis(200);

/// Sends requests.
pub(super) struct Client {
    client: reqwest::Client,
    runtime: Runtime,
    endpoint: Url,
    token: Option<Token>,
}

impl Client {
    /// A client of the hub at `endpoint`. Proxies are those that the environment names.
    pub(super) fn new(
        endpoint: Url,
        token: Option<Token>,
        patience: Patience,
    ) -> Result<Self, FetchError> {
        let cannot = |error: &dyn std::fmt::Display| {
            FetchError::World(format!("cannot prepare requests to the hub: {error}"))
        };
        install_tls_provider();
        // Redirects are followed here, since the token must not go with them.
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .read_timeout(patience.silence)
            .user_agent(concat!("scalequest-worker/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| cannot(&chain(&error)))?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("fetch")
            .enable_all()
            .build()
            .map_err(|error| cannot(&error))?;
        Ok(Client {
            client,
            runtime,
            endpoint,
            token,
        })
    }

    /// Where the hub is.
    pub(super) fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// Where the token comes from, for messages; none, where there is none.
    pub(super) fn token_place(&self) -> Option<&str> {
        self.token.as_ref().map(|token| token.place.as_str())
    }

    /// Whether `url` is the hub's own, to which the token goes.
    pub(super) fn is_hub(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.origin()
    }

    /// The response to a request, redirects followed; `from`: only the bytes from there on.
    pub(super) fn send(
        &self,
        method: Method,
        url: &Url,
        from: Option<u64>,
        watch: &Watch<'_>,
    ) -> Result<Response, Trouble> {
        let mut url = url.clone();
        for _ in 0..REDIRECTS {
            let mut request = self.client.request(method.clone(), url.clone());
            // Bytes as they are: a range of something packed is a range of something else.
            request = request.header(ACCEPT_ENCODING, "identity");
            if let Some(from) = from {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            if let Some(token) = self.token.as_ref().filter(|_| self.is_hub(&url)) {
                request = request.bearer_auth(&token.secret);
            }
            // The request is made within the runtime: its deadlines are the runtime's.
            let response = self.wait(async { request.send().await }, watch)?;
            let Some(next) = redirected(&response) else {
                return Ok(response);
            };
            let next = url.join(&next).ok().filter(|next| {
                matches!(next.scheme(), "http" | "https")
                    && (next.scheme() == "https" || url.scheme() == "http")
            });
            url = next.ok_or_else(|| {
                let from = url.origin().ascii_serialization();
                FetchError::Source(format!(
                    "{from} redirects to an address that is none, or from https to one without"
                ))
            })?;
        }
        Err(Trouble::Passing {
            message: format!("it was redirected {REDIRECTS} times"),
            after: None,
            answered: true,
        })
    }

    fn wait<T>(
        &self,
        asked: impl Future<Output = reqwest::Result<T>>,
        watch: &Watch<'_>,
    ) -> Result<T, Trouble> {
        self.runtime.block_on(async {
            let mut asked = std::pin::pin!(asked);
            loop {
                tokio::select! {
                    result = &mut asked => return result.map_err(|error| Trouble::Passing {
                        // Without the name of a host nobody knows what to look at.
                        message: match error.url().and_then(Url::host_str) {
                            Some(host) => format!("{host}: {}", chain(&error)),
                            None => chain(&error),
                        },
                        after: None,
                        answered: false,
                    }),
                    () = tokio::time::sleep(LOOK) => if (watch.is_stopped)() {
                        return Err(FetchError::Stopped.into());
                    }
                }
            }
        })
    }
}

/// The next bytes of a response; none at its end.
pub(super) fn next_chunk(
    client: &Client,
    response: &mut Response,
    watch: &Watch<'_>,
) -> Result<Option<Bytes>, Trouble> {
    client
        .wait(response.chunk(), watch)
        .map_err(|trouble| match trouble {
            // It had answered, or there were no chunks to wait for.
            Trouble::Passing { message, after, .. } => Trouble::Passing {
                message,
                after,
                answered: true,
            },
            other => other,
        })
}

fn redirected(response: &Response) -> Option<String> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?;
    location.to_str().ok().map(str::to_owned)
}
