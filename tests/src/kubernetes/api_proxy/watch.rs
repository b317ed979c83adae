//! A watch that is disturbed: its events, a line each, are dropped, doubled or put in another order, and it ends early.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::{Stream, StreamExt};
use serde_json::Value;
use tokio::sync::mpsc;

use super::Shared;
use super::call::Call;
use super::faults::EventFault;

/// How long an event is kept back at most where none follows it.
const LATE: Duration = Duration::from_millis(400);

const TOO_OLD: &str = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version","reason":"Expired","code":410}}"#;

/// The body of a watch as the client gets it.
pub(super) fn disturbed(body: Body, shared: Arc<Shared>, call: Call) -> Body {
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(disturb(body, shared, call, sender));
    let events = futures::stream::unfold(receiver, |mut receiver| async {
        let line: Bytes = receiver.recv().await?;
        Some((Ok::<_, Infallible>(line), receiver))
    });
    Body::from_stream(events)
}

/// Hands lines on until the watch ends or the client has gone.
async fn disturb(body: Body, shared: Arc<Shared>, call: Call, to: mpsc::Sender<Bytes>) {
    let mut lines = std::pin::pin!(lines(body));
    let mut late: Option<Bytes> = None;
    loop {
        let next = match late.take() {
            None => lines.next().await,
            Some(kept) => match tokio::time::timeout(LATE, lines.next()).await {
                Ok(next) => {
                    late = Some(kept);
                    next
                }
                Err(_) => {
                    if to.send(kept).await.is_err() {
                        return;
                    }
                    continue;
                }
            },
        };
        let Some(line) = next else { return };
        let fault = fault(&shared, &call, &line);
        if let Some(fault) = fault {
            shared.note_disturbed(fault.name());
        }
        let mut out = match fault {
            None => vec![line],
            Some(EventFault::Doubled) => vec![line.clone(), line],
            Some(EventFault::Dropped) => Vec::new(),
            Some(EventFault::Late) if late.is_none() => {
                late = Some(line);
                continue;
            }
            Some(EventFault::Late) => vec![line],
            Some(EventFault::Ended) => return,
            Some(EventFault::TooOld) => {
                let _ = to.send(Bytes::from(format!("{TOO_OLD}\n"))).await;
                return;
            }
        };
        out.extend(late.take());
        for line in out {
            if to.send(line).await.is_err() {
                return;
            }
        }
    }
}

fn fault(shared: &Shared, call: &Call, line: &[u8]) -> Option<EventFault> {
    let event: Value = serde_json::from_slice(line).ok()?;
    let kind = event["type"].as_str()?;
    if !matches!(kind, "ADDED" | "MODIFIED" | "DELETED") {
        return None;
    }
    let nth = shared.note(&Call {
        verb: "event",
        ..call.clone()
    });
    shared.treatment.faults.of_event(&call.resource, nth)
}

/// The lines of a body, each with its end.
fn lines(body: Body) -> impl Stream<Item = Bytes> {
    let state = (body.into_data_stream(), Vec::<u8>::new());
    futures::stream::unfold(state, |(mut chunks, mut rest)| async move {
        loop {
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let after = rest.split_off(end + 1);
                return Some((Bytes::from(rest), (chunks, after)));
            }
            rest.extend_from_slice(&chunks.next().await?.ok()?);
        }
    })
}
