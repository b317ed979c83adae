//! The value of a model's head by the pooling API, as vLLM has it for reward models: a conversation in, numbers out. Pure.

use serde::Deserialize;
use serde_json::Value;

use super::reply::{NoReply, Reply, Usage, is_same_model};

/// The body of a request for the value of a question and a response to it. It is the head's own number that is asked for, not one that is pressed
/// between 0 and 1.
pub(super) fn request(model: &str, question: &str, response: &str) -> Value {
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

/// One vector for the conversation, or one for each of its tokens: a reward is read at the last one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Numbers {
    Whole(Vec<f64>),
    Tokens(Vec<Vec<f64>>),
}

/// Reads the body of a successful response.
///
/// # Errors
/// It is no such response, another model answered, or the model's head gives more than one number.
pub(super) fn reply(body: &str, model: &str) -> Result<Reply, NoReply> {
    let pooled: Pooled =
        serde_json::from_str(body).map_err(|error| NoReply::Garbage(error.to_string()))?;
    if let Some(other) = pooled
        .model
        .as_deref()
        .filter(|other| !is_same_model(model, other))
    {
        return Err(NoReply::OtherModel(other.to_owned()));
    }
    let values = pooled.data.into_iter().next().map(|values| values.data);
    let values = match values {
        Some(Numbers::Whole(values)) => values,
        Some(Numbers::Tokens(mut tokens)) => tokens.pop().unwrap_or_default(),
        None => Vec::new(),
    };
    let score = match values.as_slice() {
        [] => return Err(NoReply::Garbage("it holds no number".into())),
        [score] => *score,
        more => return Err(NoReply::ManyValues(more.len())),
    };
    let read = pooled.usage.and_then(|usage| usage.prompt_tokens);
    Ok(Reply {
        text: String::new(),
        finished: true,
        prompt_tokens: read.filter(|tokens| *tokens >= 0),
        new_tokens: None,
        alternatives: Vec::new(),
        score: Some(score),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reward_is_the_last_tokens_value_and_one_number() {
        let read = |data: &str| {
            let body = format!(
                r#"{{"object": "list", "model": "m", "data": [{{"index": 0, "object": "pooling", "data": {data}}}], "usage": {{"prompt_tokens": 5, "completion_tokens": 0}}}}"#
            );
            reply(&body, "m").map(|reply| (reply.score, reply.tokens()))
        };
        assert_eq!(read("[-0.25]"), Ok((Some(-0.25), 5)));
        assert_eq!(read("[[1], [2.5]]"), Ok((Some(2.5), 5)));
        assert_eq!(read("[0.5, 0.25]"), Err(NoReply::ManyValues(2)));
        assert_eq!(read("[[1], [2, 3, 4]]"), Err(NoReply::ManyValues(3)));
        for garbage in ["[]", "[[]]", "\"AACAPw==\"", "[null]"] {
            assert!(
                matches!(read(garbage), Err(NoReply::Garbage(_))),
                "{garbage}"
            );
        }
        assert!(matches!(
            reply(r#"{"model": "n", "data": []}"#, "m"),
            Err(NoReply::OtherModel(_))
        ));
    }
}
