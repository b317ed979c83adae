//! Sends many requests concurrently. Replies are passed on as they arrive, those that arrive together in one batch, so that they can be
//! persisted before anything else happens.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::{Endpoint, EndpointError, Rejection, Reply, Request};

/// How long a stop waits for the replies to requests in flight: they are paid for.
const STOP_GRACE: Duration = Duration::from_secs(20);

/// Interval of checks for a requested stop.
const STOP_POLL: Duration = Duration::from_millis(100);

/// A request's index with its reply or rejection.
pub type IndexedReply = (usize, Result<Reply, Rejection>);

impl Endpoint {
    /// Sends all `requests`, `concurrency` at a time, on `runtime`, and passes their replies to `take`. Polls `is_stopped`: once it is true,
    /// nothing more is sent, and requests in flight get a grace period.
    ///
    /// # Errors
    /// The endpoint cannot be used, `take` failed, or a stop was requested; all replies until then have been passed on.
    pub fn request_all<E: From<EndpointError>>(
        self: &Arc<Self>,
        runtime: &Runtime,
        concurrency: usize,
        requests: Vec<(usize, Request)>,
        is_stopped: &dyn Fn() -> bool,
        take: &mut dyn FnMut(Vec<IndexedReply>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (stop, stopped) = watch::channel(false);
        let (send, receive) = channel();
        let endpoint = Arc::clone(self);
        let driver = runtime.spawn(async move {
            let send_request = |(index, request): (usize, Request)| {
                let (endpoint, stopped) = (Arc::clone(&endpoint), stopped.clone());
                async move { (index, endpoint.request(&request, stopped).await) }
            };
            let mut replies = futures::stream::iter(requests)
                .map(send_request)
                .buffer_unordered(concurrency.max(1));
            while let Some(reply) = replies.next().await {
                if send.send(reply).is_err() {
                    break;
                }
            }
        });
        let mut end: Option<E> = None;
        let mut deadline = None;
        loop {
            let first = match receive.recv_timeout(STOP_POLL) {
                Ok(reply) => Some(reply),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut batch = Vec::new();
            for (index, reply) in first.into_iter().chain(receive.try_iter()) {
                match reply {
                    Ok(reply) => batch.push((index, reply)),
                    Err(error) => {
                        end.get_or_insert(error.into());
                    }
                }
            }
            if !batch.is_empty()
                && let Err(error) = take(batch)
            {
                end.get_or_insert(error);
            }
            if is_stopped() && end.is_none() {
                end = Some(EndpointError::Stopped.into());
            }
            if end.is_some() && deadline.is_none() {
                let _ = stop.send(true);
                deadline = Some(Instant::now() + STOP_GRACE);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                driver.abort();
                break;
            }
        }
        end.map_or(Ok(()), Err)
    }
}
