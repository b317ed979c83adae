//! The wire format of requests and replies: the OpenAI API as vLLM, llama.cpp, `transformers serve` and the hosted services implement it. Pure.

use serde::Deserialize;
use serde_json::Value;

use super::pooling;
use super::reply::{Reply, ReplyError, TokenLogprob, Usage, is_same_model};

/// Number of requested log probabilities of the first token: the API's maximum.
const TOP_LOGPROBS: u32 = 20;

/// The API of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Api {
    /// Chat completion: the text is the user's message in a conversation of its own (`chat/completions`).
    Chat,
    /// Text completion: the model continues the text until one of the stop strings (`completions`).
    Completions {
        /// Stop strings, at most four.
        stops: Vec<String>,
    },
    /// Scoring: the text is a question, and the scalar head's value of this response is returned (`/pooling`). Nothing is generated.
    Pooling {
        /// The response.
        response: String,
    },
}

/// A request to an endpoint.
#[derive(Clone, Debug)]
pub struct Request {
    /// The prompt.
    pub text: String,
    /// The API that it is sent to.
    pub api: Api,
    /// Temperature; 0 is greedy.
    pub temperature: f64,
    /// Nucleus sampling: the probability mass of the sampled tokens.
    pub top_p: f64,
    /// Number of likeliest tokens that are sampled from; all if absent.
    pub top_k: Option<usize>,
    /// Maximum number of generated tokens.
    pub max_new_tokens: u32,
    /// Seed of the sampling, for servers that support it.
    pub seed: u32,
    /// Whether the reply has the first token's top log probabilities.
    pub top_logprobs: bool,
}

impl Request {
    /// A request for the value of a question and a response to it.
    pub fn score(question: String, response: String) -> Self {
        Request {
            text: question,
            api: Api::Pooling { response },
            temperature: 0.0,
            top_p: 1.0,
            top_k: None,
            max_new_tokens: 0,
            seed: 0,
            top_logprobs: false,
        }
    }
}

/// The field with the maximum number of tokens: newer services support only the second one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenLimitField {
    /// `max_tokens`.
    MaxTokens,
    /// `max_completion_tokens`.
    MaxCompletionTokens,
}

/// Builds the body of a request.
pub fn request_body(model: &str, request: &Request, limit: TokenLimitField) -> Value {
    let mut body = serde_json::json!({
        "model": model,
        "temperature": request.temperature,
        "seed": request.seed,
        "stream": false,
    });
    match &request.api {
        Api::Chat => {
            body["messages"] = serde_json::json!([{"role": "user", "content": request.text}])
        }
        Api::Completions { stops } => {
            body["prompt"] = request.text.as_str().into();
            body["stop"] = stops.as_slice().into();
        }
        Api::Pooling { response } => {
            return pooling::request_body(model, &request.text, response);
        }
    }
    let name = match limit {
        TokenLimitField::MaxTokens => "max_tokens",
        TokenLimitField::MaxCompletionTokens => "max_completion_tokens",
    };
    body[name] = request.max_new_tokens.into();
    // Defaults are left out: not every server supports every field.
    if request.top_p < 1.0 {
        body["top_p"] = request.top_p.into();
    }
    if let Some(top_k) = request.top_k {
        body["top_k"] = top_k.into();
    }
    if request.top_logprobs {
        body["logprobs"] = true.into();
        body["top_logprobs"] = TOP_LOGPROBS.into();
    }
    body
}

#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    model: Option<String>,
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    message: Option<Message>,
    /// The text of a text completion.
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    logprobs: Option<Logprobs>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
    // vLLM calls it `reasoning`, others `reasoning_content`.
    #[serde(default, alias = "reasoning")]
    reasoning_content: Option<String>,
}

#[derive(Deserialize)]
struct Logprobs {
    #[serde(default)]
    content: Option<Vec<Position>>,
}

#[derive(Deserialize)]
struct Position {
    token: String,
    logprob: f64,
    #[serde(default)]
    top_logprobs: Vec<TokenLogprob>,
}

/// Parses the body of a successful response to a request to `model`.
///
/// # Errors
/// [`ReplyError`].
pub fn parse_reply(body: &str, model: &str, request: &Request) -> Result<Reply, ReplyError> {
    if let Api::Pooling { .. } = request.api {
        return pooling::parse_reply(body, model);
    }
    let completion: Completion =
        serde_json::from_str(body).map_err(|error| ReplyError::Malformed(error.to_string()))?;
    if let Some(other) = completion
        .model
        .as_deref()
        .filter(|other| !is_same_model(model, other))
    {
        return Err(ReplyError::OtherModel(other.to_owned()));
    }
    let Some(choice) = completion.choices.into_iter().next() else {
        return Err(ReplyError::Malformed("it has no choices".into()));
    };
    let top_logprobs = match (request.top_logprobs, choice.logprobs) {
        (false, _) => Vec::new(),
        (
            true,
            Some(Logprobs {
                content: Some(positions),
            }),
        ) => positions
            .into_iter()
            .next()
            .map(Position::into_top_logprobs)
            .unwrap_or_default(),
        (true, _) => return Err(ReplyError::MissingLogprobs),
    };
    let Message {
        content,
        reasoning_content,
    } = match (choice.message, choice.text) {
        (Some(message), _) => message,
        (None, Some(text)) => Message {
            content: Some(text),
            reasoning_content: None,
        },
        (None, None) => {
            return Err(ReplyError::Malformed(
                "its choice has neither message nor text".into(),
            ));
        }
    };
    let reasoning = reasoning_content.filter(|reasoning| !reasoning.trim().is_empty());
    let reasoning =
        reasoning.map(|reasoning| format!("<think>\n{}\n</think>\n\n", reasoning.trim()));
    let (prompt_tokens, new_tokens) = completion.usage.map_or((None, None), |usage| {
        (usage.prompt_tokens, usage.completion_tokens)
    });
    let count = |tokens: Option<i64>| tokens.filter(|tokens| *tokens >= 0);
    Ok(Reply {
        text: reasoning.unwrap_or_default() + &content.unwrap_or_default(),
        finished: choice.finish_reason.as_deref() == Some("stop"),
        prompt_tokens: count(prompt_tokens),
        new_tokens: count(new_tokens),
        top_logprobs,
        score: None,
    })
}

impl Position {
    /// Returns the likeliest tokens; at least the one that was sampled.
    fn into_top_logprobs(self) -> Vec<TokenLogprob> {
        let Position {
            token,
            logprob,
            top_logprobs,
        } = self;
        if top_logprobs.is_empty() {
            vec![TokenLogprob { token, logprob }]
        } else {
            top_logprobs
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_request(top_logprobs: bool) -> Request {
        Request {
            text: "how many?".into(),
            api: Api::Chat,
            temperature: 0.7,
            top_p: 1.0,
            top_k: None,
            max_new_tokens: 9,
            seed: 3,
            top_logprobs,
        }
    }

    #[test]
    fn request_body_leaves_out_defaults() {
        let body = request_body("m", &test_request(false), TokenLimitField::MaxTokens);
        let expected = serde_json::json!({
            "model": "m", "messages": [{"role": "user", "content": "how many?"}], "temperature": 0.7, "seed": 3, "stream": false, "max_tokens": 9
        });
        assert_eq!(body, expected);
        let mut full = test_request(true);
        (full.top_p, full.top_k) = (0.5, Some(20));
        let body = request_body("m", &full, TokenLimitField::MaxCompletionTokens);
        assert_eq!((&body["top_p"], &body["top_k"]), (&0.5.into(), &20.into()));
        assert_eq!(
            (&body["logprobs"], &body["top_logprobs"]),
            (&true.into(), &20.into())
        );
        assert_eq!(
            (&body["max_completion_tokens"], body.get("max_tokens")),
            (&9.into(), None)
        );
    }

    #[test]
    fn reply_has_text_finish_and_counts() {
        let body = r#"{"model": "m", "choices": [{"message": {"role": "assistant", "content": "12", "tool_calls": []}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}"#;
        let expected = Reply {
            text: "12".into(),
            finished: true,
            prompt_tokens: Some(7),
            new_tokens: Some(2),
            top_logprobs: vec![],
            score: None,
        };
        assert_eq!(parse_reply(body, "m", &test_request(false)), Ok(expected));
        let cut = r#"{"choices": [{"message": {"content": "x", "reasoning_content": "hm"}, "finish_reason": "length"}]}"#;
        let read = parse_reply(cut, "m", &test_request(false)).unwrap();
        assert_eq!(
            (read.text.as_str(), read.finished, read.new_tokens),
            ("<think>\nhm\n</think>\n\nx", false, None)
        );
    }

    #[test]
    fn malformed_replies_are_rejected() {
        for body in [
            "",
            "<html>",
            "{}",
            r#"{"choices": []}"#,
            r#"{"choices": [{"message": "hi"}]}"#,
            r#"{"error": {"message": "x"}}"#,
        ] {
            assert!(
                matches!(
                    parse_reply(body, "m", &test_request(false)),
                    Err(ReplyError::Malformed(_))
                ),
                "{body}"
            );
        }
    }

    #[test]
    fn reply_of_another_model_is_rejected() {
        let body = |model: &str| {
            format!(
                r#"{{"model": "{model}", "choices": [{{"message": {{"content": "x"}}, "finish_reason": "stop"}}]}}"#
            )
        };
        for (requested, replied) in [
            ("gpt-x", "gpt-x-2026-01-01"),
            ("org/Llama", "llama"),
            ("llama", "/models/llama.gguf"),
            ("m", ""),
        ] {
            assert!(
                parse_reply(&body(replied), requested, &test_request(false)).is_ok(),
                "{requested} {replied}"
            );
        }
        let other = parse_reply(&body("tiny"), "llama-70b", &test_request(false));
        assert_eq!(other, Err(ReplyError::OtherModel("tiny".into())));
    }

    #[test]
    fn top_logprobs_are_those_of_first_token() {
        let body = |logprobs: &str| {
            format!(
                r#"{{"choices": [{{"message": {{"content": "Yes"}}, "finish_reason": "length", "logprobs": {logprobs}}}]}}"#
            )
        };
        let tokens = |logprobs: &str| {
            let reply = parse_reply(&body(logprobs), "m", &test_request(true)).unwrap();
            reply
                .top_logprobs
                .into_iter()
                .map(|each| each.token)
                .collect::<Vec<_>>()
        };
        let top = r#"{"content": [{"token": "Yes", "logprob": -1, "top_logprobs": [{"token": "Yes", "logprob": -1}, {"token": " no", "logprob": -2, "bytes": [1]}]}]}"#;
        assert_eq!(tokens(top), ["Yes", " no"]);
        assert_eq!(
            tokens(r#"{"content": [{"token": "Perhaps", "logprob": -0.1}]}"#),
            ["Perhaps"]
        );
        assert!(tokens(r#"{"content": []}"#).is_empty());
        assert_eq!(
            parse_reply(&body("null"), "m", &test_request(true)),
            Err(ReplyError::MissingLogprobs)
        );
        assert!(
            parse_reply(&body(top), "m", &test_request(false))
                .unwrap()
                .top_logprobs
                .is_empty()
        );
    }
}
