//! How a hub may misbehave.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

/// What a request meets instead of what it asked for.
#[derive(Clone, Debug)]
pub enum Fault {
    /// 429 with this `Retry-After`.
    Busy(&'static str),
    /// 500.
    Broken,
    /// This many bytes, then the connection is closed.
    CutOff(usize),
    /// This many bytes, then nothing more, ever.
    Stalls(usize),
    /// All bytes, one of which is another.
    Corrupt,
    /// All bytes, whatever range was asked for.
    WholeAgain,
    /// 404.
    Gone,
    /// 200 with something that is no JSON.
    Garbage,
}

impl Fault {
    /// The response to a request that gets no bytes at all.
    pub(super) fn instead(&self) -> Option<Response> {
        let status = |status: StatusCode| Some(status.into_response());
        match self {
            Fault::Busy(after) => {
                let after = [("retry-after", *after)];
                Some((StatusCode::TOO_MANY_REQUESTS, after).into_response())
            }
            Fault::Broken => status(StatusCode::INTERNAL_SERVER_ERROR),
            Fault::Gone => status(StatusCode::NOT_FOUND),
            Fault::Garbage => Some("<html>welcome to the proxy</html>".into_response()),
            Fault::CutOff(_) | Fault::Stalls(_) | Fault::Corrupt | Fault::WholeAgain => None,
        }
    }
}

/// `bytes` as a response that ends as `fault` says, and how many of them are sent.
pub(super) fn body(
    fault: Option<&Fault>,
    status: StatusCode,
    mut headers: HeaderMap,
    mut bytes: Vec<u8>,
) -> (Response, u64) {
    use futures::StreamExt;
    headers.insert("content-length", bytes.len().into());
    if let (Some(Fault::Corrupt), Some(byte)) = (fault, bytes.last_mut()) {
        *byte ^= 1;
    }
    let piece = |end: usize, bytes: &[u8]| Ok::<_, std::io::Error>(bytes[..end].to_vec());
    let (body, sent) = match fault {
        Some(Fault::CutOff(end)) => {
            let end = (*end).min(bytes.len());
            let ends = Err(std::io::Error::other("cut off"));
            let pieces = futures::stream::iter([piece(end, &bytes), ends]);
            // The bytes are on their way before the connection breaks.
            let slowly = pieces.then(|piece| async {
                if piece.is_err() {
                    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                }
                piece
            });
            (Body::from_stream(slowly), end)
        }
        Some(Fault::Stalls(end)) => {
            let end = (*end).min(bytes.len());
            let begun = futures::stream::iter([piece(end, &bytes)]);
            (
                Body::from_stream(begun.chain(futures::stream::pending())),
                end,
            )
        }
        _ => {
            let length = bytes.len();
            (Body::from(bytes), length)
        }
    };
    ((status, headers, body).into_response(), sent as u64)
}
