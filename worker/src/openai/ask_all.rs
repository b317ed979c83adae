//! Many questions at once, as many under way as the endpoint is to have. Answers are handed on as they come, all that came together in
//! one piece, so that they can be kept before anything else is done.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::{Declined, Endpoint, EndpointError, Question, Reply};

/// How long answers that are under way are waited for after a stop was asked for: they are paid for.
const GRACE: Duration = Duration::from_secs(20);

/// How often it is looked whether a stop was asked for.
const LOOK: Duration = Duration::from_millis(100);

/// A question's place and what came of it.
pub type Answered = (usize, Result<Reply, Declined>);

impl Endpoint {
    /// Asks all of `questions`, `concurrency` at once, on `runtime`, and hands what came of them to `take`. `is_stopped` is asked every
    /// now and then: once it is true nothing more is sent, and what is under way is waited for a while.
    ///
    /// # Errors
    /// The endpoint cannot be used, `take` failed, or a stop was asked for; in each case what was answered has been handed on.
    pub fn ask_all<E: From<EndpointError>>(
        self: &Arc<Self>,
        runtime: &Runtime,
        concurrency: usize,
        questions: Vec<(usize, Question)>,
        is_stopped: &dyn Fn() -> bool,
        take: &mut dyn FnMut(Vec<Answered>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (stop, stopped) = watch::channel(false);
        let (send, receive) = channel();
        let endpoint = Arc::clone(self);
        let driver = runtime.spawn(async move {
            let ask = |(place, question): (usize, Question)| {
                let (endpoint, stopped) = (Arc::clone(&endpoint), stopped.clone());
                async move { (place, endpoint.ask(&question, stopped).await) }
            };
            let mut answers = futures::stream::iter(questions)
                .map(ask)
                .buffer_unordered(concurrency.max(1));
            while let Some(answer) = answers.next().await {
                if send.send(answer).is_err() {
                    break;
                }
            }
        });
        let mut end: Option<E> = None;
        let mut deadline = None;
        loop {
            let first = match receive.recv_timeout(LOOK) {
                Ok(answer) => Some(answer),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut together = Vec::new();
            for (place, answer) in first.into_iter().chain(receive.try_iter()) {
                match answer {
                    Ok(outcome) => together.push((place, outcome)),
                    Err(error) => {
                        end.get_or_insert(error.into());
                    }
                }
            }
            if !together.is_empty()
                && let Err(error) = take(together)
            {
                end.get_or_insert(error);
            }
            if is_stopped() && end.is_none() {
                end = Some(EndpointError::Stopped.into());
            }
            if end.is_some() && deadline.is_none() {
                let _ = stop.send(true);
                deadline = Some(Instant::now() + GRACE);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                driver.abort();
                break;
            }
        }
        end.map_or(Ok(()), Err)
    }
}
