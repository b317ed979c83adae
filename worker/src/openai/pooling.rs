//! The pooling API of vLLM for reward models: a conversation in, the value of the scalar head out. Pure.

use serde::Deserialize;
use serde_json::Value;

use super::reply::{Reply, ReplyError, Usage, is_same_model};

/// Builds the body of a request for the value of a question and a response to it: the head's output itself, without an activation that
/// maps it to 0..1.
pub(super) fn request_body(model: &str, question: &str, response: &str) -> Value {
    serde_json::json!({
        "model": model,
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": response}],
        "use_activation": false,
    })
}

#[derive(Deserialize)]
struct Pooled {
    #[serde(default)]
    model: Option<String>,
    data: Vec<Values>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Values {
    data: Numbers,
}

/// One vector for the conversation, or one for each of its tokens: the reward is the last one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Numbers {
    Whole(Vec<f64>),
    Tokens(Vec<Vec<f64>>),
}

/// Parses the body of a successful response.
///
/// # Errors
/// The body is malformed, another model replied, or the model's head has more than one output.
pub(super) fn parse_reply(body: &str, model: &str) -> Result<Reply, ReplyError> {
    let pooled: Pooled =
        serde_json::from_str(body).map_err(|error| ReplyError::Malformed(error.to_string()))?;
    if let Some(other) = pooled
        .model
        .as_deref()
        .filter(|other| !is_same_model(model, other))
    {
        return Err(ReplyError::OtherModel(other.to_owned()));
    }
    let values = pooled.data.into_iter().next().map(|values| values.data);
    let values = match values {
        Some(Numbers::Whole(values)) => values,
        Some(Numbers::Tokens(mut tokens)) => tokens.pop().unwrap_or_default(),
        None => Vec::new(),
    };
    let score = match values.as_slice() {
        [] => return Err(ReplyError::Malformed("it has no number".into())),
        [score] => *score,
        more => return Err(ReplyError::MultipleValues(more.len())),
    };
    let prompt_tokens = pooled.usage.and_then(|usage| usage.prompt_tokens);
    Ok(Reply {
        text: String::new(),
        finished: true,
        prompt_tokens: prompt_tokens.filter(|tokens| *tokens >= 0),
        new_tokens: None,
        top_logprobs: Vec::new(),
        score: Some(score),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_reward_is_last_tokens_value() {
        let read = |data: &str| {
            let body = format!(
                r#"{{"object": "list", "model": "m", "data": [{{"index": 0, "object": "pooling", "data": {data}}}], "usage": {{"prompt_tokens": 5, "completion_tokens": 0}}}}"#
            );
            parse_reply(&body, "m").map(|reply| (reply.score, reply.tokens()))
        };
        assert_eq!(read("[-0.25]"), Ok((Some(-0.25), 5)));
        assert_eq!(read("[[1], [2.5]]"), Ok((Some(2.5), 5)));
        assert_eq!(read("[0.5, 0.25]"), Err(ReplyError::MultipleValues(2)));
        assert_eq!(read("[[1], [2, 3, 4]]"), Err(ReplyError::MultipleValues(3)));
        for garbage in ["[]", "[[]]", "\"AACAPw==\"", "[null]"] {
            assert!(
                matches!(read(garbage), Err(ReplyError::Malformed(_))),
                "{garbage}"
            );
        }
        assert!(matches!(
            parse_reply(r#"{"model": "n", "data": []}"#, "m"),
            Err(ReplyError::OtherModel(_))
        ));
    }
}
