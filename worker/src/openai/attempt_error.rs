//! Classifies unsuccessful responses: transient, about one request, or about all of them. Pure: no network and no clock.

use std::time::Duration;

use serde_json::Value;

use crate::http::parse_retry_after;

/// Longest part of a server's message that is passed on, in characters.
const MAX_MESSAGE_CHARS: usize = 300;

/// Why an attempt has no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptError {
    /// A retry may succeed.
    Transient {
        /// What went wrong.
        message: String,
        /// The server's `Retry-After`.
        retry_after: Option<Duration>,
        /// Whether the server is only busy, so that the attempt does not count against the request.
        busy: bool,
    },
    /// The prompt does not fit the model's context.
    TooLong(String),
    /// The server refuses this request.
    Refused(String),
    /// The server expects the limit of tokens in its other field.
    OtherTokenLimitField,
    /// No request can succeed.
    Denied(String),
    /// The account's quota is exhausted.
    QuotaExhausted(String),
}

/// Classifies a response without success. `retry_after`: the header `Retry-After`.
pub fn from_status(
    status: u16,
    retry_after: Option<&str>,
    now_seconds: i64,
    body: &str,
) -> AttemptError {
    let detail = server_message(body);
    let lower = detail.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let message = if detail.is_empty() {
        format!("status {status}")
    } else {
        format!("status {status}: {detail}")
    };
    match status {
        402 => AttemptError::QuotaExhausted(message),
        429 if has(&[
            "insufficient_quota",
            "exceeded your current quota",
            "billing",
        ]) =>
        {
            AttemptError::QuotaExhausted(message)
        }
        408 | 409 | 425 | 429 | 500..=599 => AttemptError::Transient {
            retry_after: retry_after.and_then(|text| parse_retry_after(text, now_seconds)),
            busy: matches!(status, 425 | 429 | 503 | 529),
            message,
        },
        413 => AttemptError::TooLong(message),
        400 | 422
            if has(&[
                "context_length",
                "context length",
                "context size",
                "maximum context",
                "exceed_context",
                "too many tokens",
                "prompt is too long",
            ]) =>
        {
            AttemptError::TooLong(message)
        }
        400 | 422 if has(&["max_completion_tokens"]) => AttemptError::OtherTokenLimitField,
        400 | 403 | 422
            if has(&[
                "content_filter",
                "content management policy",
                "content policy",
                "moderation",
                "safety",
            ]) =>
        {
            AttemptError::Refused(message)
        }
        401 | 403 | 404 | 405 | 407 | 300..=399 => AttemptError::Denied(message),
        _ => AttemptError::Refused(message),
    }
}

/// Returns the error's code and message if the body has the usual form, otherwise its beginning, as one line.
fn server_message(body: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(body).ok();
    let error = parsed
        .as_ref()
        .map(|parsed| parsed.get("error").unwrap_or(parsed));
    let texts = error.map(|error| {
        ["code", "type", "message", "detail"]
            .iter()
            .filter_map(|name| error.get(name)?.as_str())
            .chain(error.as_str())
            .collect::<Vec<_>>()
            .join(": ")
    });
    let text = texts
        .filter(|texts| !texts.is_empty())
        .unwrap_or_else(|| body.to_owned());
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(MAX_MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_or_broken_server_is_transient() {
        let transient = |status, retry_after| match from_status(status, retry_after, 1_000, "") {
            AttemptError::Transient {
                retry_after, busy, ..
            } => (retry_after, busy),
            other => panic!("{status}: {other:?}"),
        };
        let seven = Some(Duration::from_secs(7));
        assert_eq!(transient(429, Some("7")), (seven, true));
        assert_eq!(transient(503, Some("7")), (seven, true));
        assert_eq!(transient(500, Some("soon")), (None, false));
    }

    #[test]
    fn status_and_message_decide_the_class() {
        let of = |status, body| from_status(status, None, 0, body);
        let openai = r#"{"error": {"message": "This model's maximum context length is 4096 tokens.", "type": "invalid_request_error", "code": "context_length_exceeded"}}"#;
        let llama = r#"{"error": {"code": 400, "message": "the request exceeds the available context size", "type": "exceed_context_size_error"}}"#;
        let vllm = r#"{"object": "error", "message": "'max_tokens' is too large: 9. This model's maximum context length is 8 tokens", "code": 400}"#;
        for body in [openai, llama, vllm] {
            assert!(matches!(of(400, body), AttemptError::TooLong(_)), "{body}");
        }
        let key =
            r#"{"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}"#;
        assert_eq!(
            of(401, key),
            AttemptError::Denied("status 401: invalid_api_key: Incorrect API key provided".into())
        );
        let model =
            r#"{"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}"#;
        assert!(matches!(of(404, model), AttemptError::Denied(_)));
        let quota = r#"{"error": {"message": "You exceeded your current quota", "type": "insufficient_quota"}}"#;
        assert!(matches!(of(429, quota), AttemptError::QuotaExhausted(_)));
        let filtered =
            r#"{"error": {"message": "The response was filtered", "code": "content_filter"}}"#;
        assert!(matches!(of(400, filtered), AttemptError::Refused(_)));
        let limit = r#"{"error": {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."}}"#;
        assert_eq!(of(400, limit), AttemptError::OtherTokenLimitField);
        assert!(matches!(
            of(400, "{\"detail\": \"no\"}"),
            AttemptError::Refused(_)
        ));
        assert!(matches!(of(302, ""), AttemptError::Denied(_)));
    }

    #[test]
    fn server_message_is_one_bounded_line() {
        let AttemptError::Transient { message, .. } =
            from_status(500, None, 0, &"a\nb ".repeat(10_000))
        else {
            panic!()
        };
        assert!(
            message.chars().count() < 400 && !message.contains('\n'),
            "{message}"
        );
    }
}
