//! What a response that is no answer means for the question, and when to ask again. Pure: it knows no network and no clock.

use std::time::Duration;

use serde_json::Value;

use crate::http::parse_retry_after;

/// Longest part of a server's words that is passed on, in characters.
const WORDS: usize = 300;

/// What a response that is no answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Another attempt may be answered.
    Passing {
        /// What went wrong.
        message: String,
        /// When the server wants to be asked again.
        after: Option<Duration>,
        /// Whether the server is only busy, and nothing is wrong with the question.
        busy: bool,
    },
    /// The prompt does not fit the model's context.
    TooLong(String),
    /// The server refuses this question.
    Refused(String),
    /// The server wants the limit of tokens under its other name.
    OtherLimitName,
    /// No question can be answered as things are.
    Denied(String),
    /// The account has no money left.
    Exhausted(String),
}

/// What a response with a status other than success means. `retry_after`: the header of that name.
pub fn of_status(status: u16, retry_after: Option<&str>, now_seconds: i64, body: &str) -> Failure {
    let said = said(body);
    let lower = said.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let message = if said.is_empty() {
        format!("status {status}")
    } else {
        format!("status {status}: {said}")
    };
    match status {
        402 => Failure::Exhausted(message),
        429 if has(&[
            "insufficient_quota",
            "exceeded your current quota",
            "billing",
        ]) =>
        {
            Failure::Exhausted(message)
        }
        408 | 409 | 425 | 429 | 500..=599 => Failure::Passing {
            after: retry_after.and_then(|text| parse_retry_after(text, now_seconds)),
            busy: matches!(status, 425 | 429 | 503 | 529),
            message,
        },
        413 => Failure::TooLong(message),
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
            Failure::TooLong(message)
        }
        400 | 422 if has(&["max_completion_tokens"]) => Failure::OtherLimitName,
        400 | 403 | 422
            if has(&[
                "content_filter",
                "content management policy",
                "content policy",
                "moderation",
                "safety",
            ]) =>
        {
            Failure::Refused(message)
        }
        401 | 403 | 404 | 405 | 407 | 300..=399 => Failure::Denied(message),
        _ => Failure::Refused(message),
    }
}

/// What the server said in its body: the error's code and message where it has the usual form, otherwise its beginning.
fn said(body: &str) -> String {
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
    words.join(" ").chars().take(WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_busy_or_broken_is_asked_again_when_it_says() {
        let passing = |status, retry_after| match of_status(status, retry_after, 1_000, "") {
            Failure::Passing { after, busy, .. } => (after, busy),
            other => panic!("{status}: {other:?}"),
        };
        let seven = Some(Duration::from_secs(7));
        assert_eq!(passing(429, Some("7")), (seven, true));
        assert_eq!(passing(503, Some("7")), (seven, true));
        assert_eq!(passing(500, Some("soon")), (None, false));
    }

    #[test]
    fn what_a_server_says_tells_rows_from_runs() {
        let of = |status, body| of_status(status, None, 0, body);
        let openai = r#"{"error": {"message": "This model's maximum context length is 4096 tokens.", "type": "invalid_request_error", "code": "context_length_exceeded"}}"#;
        let llama = r#"{"error": {"code": 400, "message": "the request exceeds the available context size", "type": "exceed_context_size_error"}}"#;
        let vllm = r#"{"object": "error", "message": "'max_tokens' is too large: 9. This model's maximum context length is 8 tokens", "code": 400}"#;
        for body in [openai, llama, vllm] {
            assert!(matches!(of(400, body), Failure::TooLong(_)), "{body}");
        }
        let key =
            r#"{"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}"#;
        assert_eq!(
            of(401, key),
            Failure::Denied("status 401: invalid_api_key: Incorrect API key provided".into())
        );
        let model =
            r#"{"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}"#;
        assert!(matches!(of(404, model), Failure::Denied(_)));
        let quota = r#"{"error": {"message": "You exceeded your current quota", "type": "insufficient_quota"}}"#;
        assert!(matches!(of(429, quota), Failure::Exhausted(_)));
        let filtered =
            r#"{"error": {"message": "The response was filtered", "code": "content_filter"}}"#;
        assert!(matches!(of(400, filtered), Failure::Refused(_)));
        let limit = r#"{"error": {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."}}"#;
        assert_eq!(of(400, limit), Failure::OtherLimitName);
        assert!(matches!(
            of(400, "{\"detail\": \"no\"}"),
            Failure::Refused(_)
        ));
        assert!(matches!(of(302, ""), Failure::Denied(_)));
    }

    #[test]
    fn a_servers_words_are_bounded_and_on_one_line() {
        let Failure::Passing { message, .. } = of_status(500, None, 0, &"a\nb ".repeat(10_000))
        else {
            panic!()
        };
        assert!(
            message.chars().count() < 400 && !message.contains('\n'),
            "{message}"
        );
    }
}
