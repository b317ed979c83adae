//! Requests and replies as they go over the wire: the chat completions of the OpenAI API, as vLLM, llama.cpp, `transformers serve`
//! and the hosted services understand them. Pure.

use serde::Deserialize;
use serde_json::Value;

use super::pooling;
use super::reply::{Alternative, NoReply, Reply, Usage, is_same_model};

/// Alternatives to the first token that are asked for: the most that the API allows.
const TOP_LOGPROBS: u32 = 20;

/// How a model is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The text is what a user says, in a conversation of its own (`chat/completions`).
    Conversation,
    /// The text is the beginning of what the model goes on with, until one of these texts comes (`completions`).
    Prefix {
        /// At most four.
        stops: Vec<String>,
    },
    /// The text is a question, and this the response to it whose value is wanted (`/pooling`). Nothing is drawn.
    Scored {
        /// The response.
        response: String,
    },
}

/// One question.
#[derive(Clone, Debug)]
pub struct Question {
    /// What is said.
    pub text: String,
    /// As what it is said.
    pub shape: Shape,
    /// Temperature; 0 is greedy.
    pub temperature: f64,
    /// Share of the probability from which tokens are drawn.
    pub top_p: f64,
    /// How many of the likeliest tokens are drawn from; all, where absent.
    pub top_k: Option<usize>,
    /// The most tokens to draw.
    pub max_new_tokens: u32,
    /// Seed of the draws, for servers that honour it.
    pub seed: u32,
    /// Whether the first token's alternatives are wanted with their probabilities.
    pub alternatives: bool,
}

impl Question {
    /// Asks for the value of a question and a response to it.
    pub fn scored(question: String, response: String) -> Self {
        Question {
            text: question,
            shape: Shape::Scored { response },
            temperature: 0.0,
            top_p: 1.0,
            top_k: None,
            max_new_tokens: 0,
            seed: 0,
            alternatives: false,
        }
    }
}

/// Under which name a server takes the most tokens to draw: newer services know the second one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitName {
    /// `max_tokens`.
    MaxTokens,
    /// `max_completion_tokens`.
    MaxCompletionTokens,
}

/// The body of a request.
pub fn request(model: &str, question: &Question, limit: LimitName) -> Value {
    let mut body = serde_json::json!({
        "model": model,
        "temperature": question.temperature,
        "seed": question.seed,
        "stream": false,
    });
    match &question.shape {
        Shape::Conversation => {
            body["messages"] = serde_json::json!([{"role": "user", "content": question.text}])
        }
        Shape::Prefix { stops } => {
            body["prompt"] = question.text.as_str().into();
            body["stop"] = stops.as_slice().into();
        }
        Shape::Scored { response } => return pooling::request(model, &question.text, response),
    }
    let name = match limit {
        LimitName::MaxTokens => "max_tokens",
        LimitName::MaxCompletionTokens => "max_completion_tokens",
    };
    body[name] = question.max_new_tokens.into();
    // What is at its default is left out: not every server knows every member.
    if question.top_p < 1.0 {
        body["top_p"] = question.top_p.into();
    }
    if let Some(top_k) = question.top_k {
        body["top_k"] = top_k.into();
    }
    if question.alternatives {
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
    /// Of a completion that is no conversation.
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
    top_logprobs: Vec<Alternative>,
}

/// Reads the body of a successful response to a question to `model`.
///
/// # Errors
/// [`NoReply`].
pub fn reply(body: &str, model: &str, question: &Question) -> Result<Reply, NoReply> {
    if let Shape::Scored { .. } = question.shape {
        return pooling::reply(body, model);
    }
    let completion: Completion =
        serde_json::from_str(body).map_err(|error| NoReply::Garbage(error.to_string()))?;
    if let Some(other) = completion
        .model
        .as_deref()
        .filter(|other| !is_same_model(model, other))
    {
        return Err(NoReply::OtherModel(other.to_owned()));
    }
    let Some(choice) = completion.choices.into_iter().next() else {
        return Err(NoReply::Garbage("it has no choices".into()));
    };
    let alternatives = match (question.alternatives, choice.logprobs) {
        (false, _) => Vec::new(),
        (
            true,
            Some(Logprobs {
                content: Some(positions),
            }),
        ) => positions
            .into_iter()
            .next()
            .map(Position::alternatives)
            .unwrap_or_default(),
        (true, _) => return Err(NoReply::NoProbabilities),
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
            return Err(NoReply::Garbage(
                "its choice has neither message nor text".into(),
            ));
        }
    };
    let thought = reasoning_content.filter(|thought| !thought.trim().is_empty());
    let thought = thought.map(|thought| format!("<think>\n{}\n</think>\n\n", thought.trim()));
    let (prompt_tokens, new_tokens) = completion.usage.map_or((None, None), |usage| {
        (usage.prompt_tokens, usage.completion_tokens)
    });
    let count = |tokens: Option<i64>| tokens.filter(|tokens| *tokens >= 0);
    Ok(Reply {
        text: thought.unwrap_or_default() + &content.unwrap_or_default(),
        finished: choice.finish_reason.as_deref() == Some("stop"),
        prompt_tokens: count(prompt_tokens),
        new_tokens: count(new_tokens),
        alternatives,
        score: None,
    })
}

impl Position {
    /// The likeliest tokens; at least the one that was drawn.
    fn alternatives(self) -> Vec<Alternative> {
        let Position {
            token,
            logprob,
            top_logprobs,
        } = self;
        if top_logprobs.is_empty() {
            vec![Alternative { token, logprob }]
        } else {
            top_logprobs
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(alternatives: bool) -> Question {
        Question {
            text: "how many?".into(),
            shape: Shape::Conversation,
            temperature: 0.7,
            top_p: 1.0,
            top_k: None,
            max_new_tokens: 9,
            seed: 3,
            alternatives,
        }
    }

    #[test]
    fn a_request_leaves_out_what_is_at_its_default() {
        let body = request("m", &question(false), LimitName::MaxTokens);
        let expected = serde_json::json!({
            "model": "m", "messages": [{"role": "user", "content": "how many?"}], "temperature": 0.7, "seed": 3, "stream": false, "max_tokens": 9
        });
        assert_eq!(body, expected);
        let mut full = question(true);
        (full.top_p, full.top_k) = (0.5, Some(20));
        let body = request("m", &full, LimitName::MaxCompletionTokens);
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
    fn a_reply_has_text_end_and_counts() {
        let body = r#"{"model": "m", "choices": [{"message": {"role": "assistant", "content": "12", "tool_calls": []}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}"#;
        let expected = Reply {
            text: "12".into(),
            finished: true,
            prompt_tokens: Some(7),
            new_tokens: Some(2),
            alternatives: vec![],
            score: None,
        };
        assert_eq!(reply(body, "m", &question(false)), Ok(expected));
        let cut = r#"{"choices": [{"message": {"content": "x", "reasoning_content": "hm"}, "finish_reason": "length"}]}"#;
        let read = reply(cut, "m", &question(false)).unwrap();
        assert_eq!(
            (read.text.as_str(), read.finished, read.new_tokens),
            ("<think>\nhm\n</think>\n\nx", false, None)
        );
    }

    #[test]
    fn what_is_no_completion_is_said_to_be_none() {
        for body in [
            "",
            "<html>",
            "{}",
            r#"{"choices": []}"#,
            r#"{"choices": [{"message": "hi"}]}"#,
            r#"{"error": {"message": "x"}}"#,
        ] {
            assert!(
                matches!(reply(body, "m", &question(false)), Err(NoReply::Garbage(_))),
                "{body}"
            );
        }
    }

    #[test]
    fn another_model_is_found_out_and_a_dated_one_is_the_same() {
        let body = |model: &str| {
            format!(
                r#"{{"model": "{model}", "choices": [{{"message": {{"content": "x"}}, "finish_reason": "stop"}}]}}"#
            )
        };
        for (asked, answered) in [
            ("gpt-x", "gpt-x-2026-01-01"),
            ("org/Llama", "llama"),
            ("llama", "/models/llama.gguf"),
            ("m", ""),
        ] {
            assert!(
                reply(&body(answered), asked, &question(false)).is_ok(),
                "{asked} {answered}"
            );
        }
        let other = reply(&body("tiny"), "llama-70b", &question(false));
        assert_eq!(other, Err(NoReply::OtherModel("tiny".into())));
    }

    #[test]
    fn the_first_tokens_alternatives_are_read_where_they_were_asked_for() {
        let body = |logprobs: &str| {
            format!(
                r#"{{"choices": [{{"message": {{"content": "Yes"}}, "finish_reason": "length", "logprobs": {logprobs}}}]}}"#
            )
        };
        let tokens = |logprobs: &str| {
            let reply = reply(&body(logprobs), "m", &question(true)).unwrap();
            reply
                .alternatives
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
            reply(&body("null"), "m", &question(true)),
            Err(NoReply::NoProbabilities)
        );
        assert!(
            reply(&body(top), "m", &question(false))
                .unwrap()
                .alternatives
                .is_empty()
        );
    }
}
