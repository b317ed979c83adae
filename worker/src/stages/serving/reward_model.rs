//! A model that scores responses: one with a scalar head, or a chat model that is prompted to verify the solution, in the
//! built-in engine or behind an endpoint.

use std::collections::BTreeSet;

use scalequest_crds::protocol::task::ModelUse;
use scalequest_crds::v1alpha1::Domain;
use scalequest_engine::inference;
use scalequest_engine::model::{ChatMessage, Head, Tokenizer};

use super::endpoint_model::EndpointModel;
use super::{EngineModel, SequenceScore, report_progress};
use crate::openai::{Api, Request, TokenLogprob};
use crate::prompts::verifier::{parse_yes_no, verifier_prompt};
use crate::stages::StageError;
use crate::stages::shard::Shard;

/// A model that scores responses.
pub struct RewardModel(Backend);

/// What runs the model.
enum Backend {
    /// The built-in engine.
    Engine {
        model: Box<EngineModel>,
        method: ScoringMethod,
    },
    /// An endpoint: if `pooled`, its pooling API returns the value of the model's head; otherwise it serves a verifier.
    Endpoint {
        endpoint: Box<EndpointModel>,
        pooled: bool,
    },
}

/// How the built-in engine scores.
enum ScoringMethod {
    /// By the model's scalar head.
    ScalarHead,
    /// By the probabilities of the tokens that begin Yes and No.
    YesNoTokens {
        yes: BTreeSet<u32>,
        no: BTreeSet<u32>,
    },
}

/// A response to score.
#[derive(Clone, Copy, Debug)]
pub struct Scorable<'a> {
    /// The question's id and the response's index.
    pub key: (i64, i32),
    /// The question.
    pub question: &'a str,
    /// The response.
    pub response: &'a str,
}

impl RewardModel {
    /// Loads a reward model, which has a scalar head or is a chat model; or connects to the endpoint that serves it. `pooled`:
    /// whether the endpoint returns the value of the model's head.
    ///
    /// # Errors
    /// As [`EngineModel::load`], the model is of neither kind, or the endpoint cannot be used.
    pub fn load(shard: &Shard<'_>, model: &ModelUse, pooled: bool) -> Result<Self, StageError> {
        if let Some(endpoint) = EndpointModel::for_model(shard, model)? {
            let endpoint = Box::new(endpoint);
            return Ok(RewardModel(Backend::Endpoint { endpoint, pooled }));
        }
        let loaded = Box::new(EngineModel::load(shard, model)?);
        loaded.template()?;
        let method = match loaded.engine.config().head {
            Head::Scalar | Head::TwoLayerScalar => ScoringMethod::ScalarHead,
            Head::LanguageModel => {
                let [yes, no] =
                    [true, false].map(|answer| yes_no_tokens(&loaded.tokenizer, answer));
                let (yes, no) = (yes?, no?);
                let both: BTreeSet<_> = yes.intersection(&no).copied().collect();
                let [yes, no] = [yes, no]
                    .map(|tokens| tokens.difference(&both).copied().collect::<BTreeSet<_>>());
                if yes.is_empty() || no.is_empty() {
                    return Err(StageError::Permanent(format!(
                        "model `{}`: its tokenizer begins Yes and No with the same token, so it cannot serve as a verifier; use a model with a scalar head",
                        model.name
                    )));
                }
                ScoringMethod::YesNoTokens { yes, no }
            }
            Head::Classes(count) => {
                return Err(StageError::Permanent(format!(
                    "model `{}` classifies into {count} classes; a reward model has a scalar head, or is a chat model",
                    model.name
                )));
            }
        };
        Ok(RewardModel(Backend::Engine {
            model: loaded,
            method,
        }))
    }

    /// Scores responses.
    ///
    /// # Errors
    /// The template does not render, the model's values are not finite, the endpoint cannot be used, or the task is cancelled.
    pub fn score(
        &self,
        shard: &Shard<'_>,
        pairs: &[Scorable<'_>],
        domain: Domain,
    ) -> Result<Vec<SequenceScore>, StageError> {
        match &self.0 {
            Backend::Engine { model, method } => {
                score_by_engine(model, method, shard, pairs, domain)
            }
            Backend::Endpoint { endpoint, pooled } => {
                score_by_endpoint(endpoint, shard, pairs, domain, *pooled)
            }
        }
    }

    /// Returns the name of the compute backend or of the endpoint's model.
    pub fn compute_backend(&self) -> String {
        match &self.0 {
            Backend::Engine { model, .. } => model.compute_backend(),
            Backend::Endpoint { endpoint, .. } => endpoint.compute_backend(),
        }
    }
}

fn score_by_engine(
    model: &EngineModel,
    method: &ScoringMethod,
    shard: &Shard<'_>,
    pairs: &[Scorable<'_>],
    domain: Domain,
) -> Result<Vec<SequenceScore>, StageError> {
    let template = model.template()?;
    let tokens = |Scorable {
                      question, response, ..
                  }: &Scorable<'_>| match method {
        ScoringMethod::ScalarHead => {
            let conversation = [
                ChatMessage::user(*question),
                ChatMessage::assistant(*response),
            ];
            let rendered = template.render(&conversation, false)?;
            let tokens = model.tokenize(&rendered, &[question, response])?;
            Ok(with_reward_token(
                model.engine.config().reward_token,
                tokens,
            ))
        }
        ScoringMethod::YesNoTokens { .. } => {
            let text = verifier_prompt(question, response, domain);
            let rendered = template.render(&[ChatMessage::user(text.as_str())], true)?;
            model.tokenize(&rendered, &[&text])
        }
    };
    let sequences = pairs.iter().map(tokens).collect::<Result<_, _>>()?;
    let base = shard.progress_base.get();
    // Rows are counted by the stage: a sequence is a part of one.
    let mut on_progress = |progress| {
        report_progress(
            shard,
            base,
            inference::Progress {
                rows: 0,
                ..progress
            },
            1,
        )
    };
    model.score_sequences(sequences, |scorer, sequences| match method {
        ScoringMethod::ScalarHead => {
            let values = scorer.scores(sequences, &mut on_progress)?;
            Ok(values.into_iter().map(f64::from).collect())
        }
        ScoringMethod::YesNoTokens { yes, no } => {
            scorer.yes_probabilities(sequences, yes, no, &mut on_progress)
        }
    })
}

/// Appends the token at which some models read the reward (InternLM2's `reward_token_id`), unless the conversation ends with it.
fn with_reward_token(reward: Option<u32>, mut tokens: Vec<u32>) -> Vec<u32> {
    let missing = reward.filter(|token| tokens.last() != Some(token));
    tokens.extend(missing);
    tokens
}

/// Scores by the value of the model's head, or by the probabilities of the first token. A response for which the endpoint returns
/// no value, or neither Yes nor No, has no score.
fn score_by_endpoint(
    endpoint: &EndpointModel,
    shard: &Shard<'_>,
    pairs: &[Scorable<'_>],
    domain: Domain,
    pooled: bool,
) -> Result<Vec<SequenceScore>, StageError> {
    let verify = |pair: &Scorable<'_>| Request {
        text: verifier_prompt(pair.question, pair.response, domain),
        api: Api::Chat,
        temperature: 0.0,
        top_p: 1.0,
        top_k: None,
        max_new_tokens: 1,
        seed: 0,
        top_logprobs: true,
    };
    let request = |pair: &Scorable<'_>| match pooled {
        true => Request::score(pair.question.into(), pair.response.into()),
        false => verify(pair),
    };
    let requests = pairs.iter().map(|pair| (pair.key, request(pair))).collect();
    let mut scores = Vec::with_capacity(pairs.len());
    endpoint.send(shard, requests, usize::MAX, &mut |_, reply| {
        scores.push(match reply {
            Ok(reply) => SequenceScore {
                value: match pooled {
                    true => reply.score,
                    false => yes_against_no(&reply.top_logprobs),
                },
                tokens: reply.tokens(),
            },
            Err(_) => SequenceScore {
                value: None,
                tokens: 0,
            },
        });
    })?;
    Ok(scores)
}

/// Returns the probability of Yes against No, over all their spellings; `None` if neither is among the likeliest tokens.
fn yes_against_no(top_logprobs: &[TokenLogprob]) -> Option<f64> {
    let weight = |answer: bool| -> f64 {
        let spellings = top_logprobs
            .iter()
            .filter(|each| parse_yes_no(&each.token) == Some(answer));
        spellings.map(|each| each.logprob.exp()).sum()
    };
    let (yes, no) = (weight(true), weight(false));
    Some(yes / (yes + no)).filter(|share| share.is_finite())
}

/// Returns the tokens that mean Yes (or No) as the first token of an answer: whole words if the vocabulary has them, else their
/// first tokens.
fn yes_no_tokens(tokenizer: &Tokenizer, answer: bool) -> Result<BTreeSet<u32>, StageError> {
    let word = if answer { "Yes" } else { "No" };
    let (mut whole, mut first) = (BTreeSet::new(), BTreeSet::new());
    for word in [word.to_owned(), word.to_lowercase(), word.to_uppercase()] {
        for spelling in [word.clone(), format!(" {word}")] {
            let Some(&token) = tokenizer.encode_plain(&spelling)?.first() else {
                continue;
            };
            first.insert(token);
            if parse_yes_no(&tokenizer.decode(&[token])?) == Some(answer) {
                whole.insert(token);
            }
        }
    }
    Ok(if whole.is_empty() { first } else { whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reward_token_is_appended_once() {
        assert_eq!(with_reward_token(None, vec![1, 2]), [1, 2]);
        assert_eq!(with_reward_token(Some(9), vec![1, 2]), [1, 2, 9]);
        assert_eq!(with_reward_token(Some(9), vec![1, 9]), [1, 9]);
    }

    #[test]
    fn yes_is_weighed_against_no() {
        let top_logprobs = |tokens: &[(&str, f64)]| -> Vec<TokenLogprob> {
            let one = |(token, share): &(&str, f64)| TokenLogprob {
                token: (*token).into(),
                logprob: share.ln(),
            };
            tokens.iter().map(one).collect()
        };
        let share = |tokens: &[(&str, f64)]| yes_against_no(&top_logprobs(tokens));
        let yes = share(&[("Yes", 0.5), (" no", 0.2), ("YES", 0.1), ("Perhaps", 0.2)]).unwrap();
        assert!((yes - 0.75).abs() < 1e-12, "{yes}");
        assert_eq!(share(&[("No", 0.9)]), Some(0.0));
        assert_eq!(share(&[("Perhaps", 1.0)]), None);
        assert_eq!(share(&[]), None);
    }
}
