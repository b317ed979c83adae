//! How a server may misbehave.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// What a request meets instead of its answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// 429 with this `Retry-After`.
    Busy(&'static str),
    /// 500.
    Broken,
    /// 400 with this error code.
    Refused(&'static str),
    /// The answer, cut off in the middle, and the connection closed.
    CutOff,
    /// 200 with something that is no chat completion.
    Garbage,
    /// The answer, as another model's.
    OtherModel,
    /// The answer, so much later.
    Slow(Duration),
    /// No answer, ever.
    Silent,
}

impl Fault {
    /// The response of a server that does not even compute the answer.
    pub(super) fn instead(&self) -> Option<Response> {
        let said = |status: StatusCode, message: &str, code: &str| {
            let body = json!({"error": {"message": message, "code": code}});
            (status, json_body(&body)).into_response()
        };
        Some(match self {
            Fault::Busy(after) => {
                let mut response = said(
                    StatusCode::TOO_MANY_REQUESTS,
                    "slow down",
                    "rate_limit_exceeded",
                );
                response
                    .headers_mut()
                    .insert("retry-after", after.parse().expect("a header"));
                response
            }
            Fault::Broken => said(
                StatusCode::INTERNAL_SERVER_ERROR,
                "out of memory",
                "server_error",
            ),
            Fault::Refused(code) => said(StatusCode::BAD_REQUEST, "not this one", code),
            Fault::Garbage => (StatusCode::OK, "<html>welcome to the proxy</html>").into_response(),
            Fault::CutOff | Fault::OtherModel | Fault::Slow(_) | Fault::Silent => return None,
        })
    }

    /// The response of a server that computes the answer and then corrupts it.
    pub(super) async fn corrupt(self, mut answer: Value) -> Response {
        match self {
            Fault::CutOff => {
                let whole = answer.to_string();
                let half = whole[..whole.len() / 2].to_owned();
                let pieces = [Ok(half), Err(std::io::Error::other("cut off"))];
                Body::from_stream(futures::stream::iter(pieces)).into_response()
            }
            Fault::OtherModel => {
                answer["model"] = "some-other-model".into();
                json_body(&answer)
            }
            Fault::Slow(pause) => {
                tokio::time::sleep(pause).await;
                json_body(&answer)
            }
            Fault::Silent => std::future::pending().await,
            Fault::Busy(_) | Fault::Broken | Fault::Refused(_) | Fault::Garbage => {
                json_body(&answer)
            }
        }
    }
}

/// The response to a key that nobody gave out.
pub(super) fn denied() -> Response {
    let body =
        json!({"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}});
    (StatusCode::UNAUTHORIZED, json_body(&body)).into_response()
}

/// The response to the name of a model that is not served.
pub(super) fn unknown_model() -> Response {
    let body = json!({"error": {"message": "The model does not exist", "code": "model_not_found"}});
    (StatusCode::NOT_FOUND, json_body(&body)).into_response()
}

/// The response to a prompt that does not fit.
pub(super) fn too_long(said: &str) -> Response {
    let body = json!({"error": {"message": said, "code": "context_length_exceeded"}});
    (StatusCode::BAD_REQUEST, json_body(&body)).into_response()
}

/// A value as the body of a response.
pub(super) fn json_body(value: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}
