//! A model that scores responses: one with a scalar head, or a chat model that is asked whether the solution is correct, here or behind
//! an endpoint.

use std::collections::BTreeSet;

use scalequest_crds::protocol::task::ModelUse;
use scalequest_crds::v1alpha1::Domain;
use scalequest_engine::inference;
use scalequest_engine::model::{ChatMessage, Head, Tokenizer};

use super::remote::Remote;
use super::{Scored, Serving, watch};
use crate::openai::{Alternative, Question, Shape};
use crate::prompts::rewarding::{rewarding, says};
use crate::stages::StageError;
use crate::stages::shard::Shard;

/// A model that scores responses.
pub struct RewardModel(Scores);

/// What scores.
enum Scores {
    /// The built-in engine.
    Engine {
        serving: Box<Serving>,
        asked: Verifier,
    },
    /// An endpoint: `pooled`, asked for the value of the model's head, otherwise as a verifier.
    Endpoint { remote: Box<Remote>, pooled: bool },
}

enum Verifier {
    /// By its scalar head.
    Head,
    /// By the tokens that begin Yes and No.
    Words {
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
    /// Loads a reward model: one with a scalar head, or a chat model; or opens the endpoint that serves it, which `pooled` gives the value of
    /// its head.
    ///
    /// # Errors
    /// As [`Serving::load`]; or it is neither. Or the endpoint cannot be used.
    pub fn load(shard: &Shard<'_>, model: &ModelUse, pooled: bool) -> Result<Self, StageError> {
        if let Some(remote) = Remote::of(shard, model)? {
            let remote = Box::new(remote);
            return Ok(RewardModel(Scores::Endpoint { remote, pooled }));
        }
        let serving = Box::new(Serving::load(shard, model)?);
        serving.template()?;
        let asked = match serving.engine.config().head {
            Head::Scalar | Head::TwoLayerScalar => Verifier::Head,
            Head::LanguageModel => {
                let [yes, no] = [true, false].map(|answer| word_tokens(&serving.tokenizer, answer));
                let (yes, no) = (yes?, no?);
                let both: BTreeSet<_> = yes.intersection(&no).copied().collect();
                let [yes, no] = [yes, no]
                    .map(|tokens| tokens.difference(&both).copied().collect::<BTreeSet<_>>());
                if yes.is_empty() || no.is_empty() {
                    return Err(StageError::Task(format!(
                        "model `{}`: its tokenizer begins Yes and No with the same token, so it cannot be asked as a verifier; use a model with a scalar head",
                        model.name
                    )));
                }
                Verifier::Words { yes, no }
            }
            Head::Classes(count) => {
                return Err(StageError::Task(format!(
                    "model `{}` sorts into {count} classes; a reward model has a scalar head, or is a chat model",
                    model.name
                )));
            }
        };
        Ok(RewardModel(Scores::Engine { serving, asked }))
    }

    /// Scores responses.
    ///
    /// # Errors
    /// The template does not render, the model's values are not finite, or a stop was asked for. Or the endpoint cannot be used.
    pub fn score(
        &self,
        shard: &Shard<'_>,
        pairs: &[Scorable<'_>],
        domain: Domain,
    ) -> Result<Vec<Scored>, StageError> {
        match &self.0 {
            Scores::Engine { serving, asked } => {
                score_by_engine(serving, asked, shard, pairs, domain)
            }
            Scores::Endpoint { remote, pooled } => {
                score_by_endpoint(remote, shard, pairs, domain, *pooled)
            }
        }
    }

    /// The arithmetic body, or which model answers.
    pub fn body(&self) -> String {
        match &self.0 {
            Scores::Engine { serving, .. } => serving.body(),
            Scores::Endpoint { remote, .. } => remote.body(),
        }
    }
}

fn score_by_engine(
    serving: &Serving,
    asked: &Verifier,
    shard: &Shard<'_>,
    pairs: &[Scorable<'_>],
    domain: Domain,
) -> Result<Vec<Scored>, StageError> {
    let template = serving.template()?;
    let tokens = |Scorable {
                      question, response, ..
                  }: &Scorable<'_>| match asked {
        Verifier::Head => {
            let said = [
                ChatMessage::user(*question),
                ChatMessage::assistant(*response),
            ];
            let tokens = serving.tokens(&template.render(&said, false)?, &[question, response])?;
            Ok(read_at(serving.engine.config().reward_token, tokens))
        }
        Verifier::Words { .. } => {
            let text = rewarding(question, response, domain);
            let rendered = template.render(&[ChatMessage::user(text.as_str())], true)?;
            serving.tokens(&rendered, &[&text])
        }
    };
    let sequences = pairs.iter().map(tokens).collect::<Result<_, _>>()?;
    let base = shard.base.get();
    // Rows are counted by the stage: a sequence is a part of one.
    let mut watch = |progress| {
        watch(
            shard,
            base,
            inference::Progress {
                rows: 0,
                ..progress
            },
            1,
        )
    };
    serving.scored(sequences, |scorer, sequences| match asked {
        Verifier::Head => {
            let values = scorer.scores(sequences, &mut watch)?;
            Ok(values.into_iter().map(f64::from).collect())
        }
        Verifier::Words { yes, no } => scorer.yes_probabilities(sequences, yes, no, &mut watch),
    })
}

/// A conversation's tokens with the one at which its reward is read: some models have a token of their own for that, which is appended
/// where the conversation does not end with it (InternLM2's `get_score`).
fn read_at(reward: Option<u32>, mut tokens: Vec<u32>) -> Vec<u32> {
    let missing = reward.filter(|token| tokens.last() != Some(token));
    tokens.extend(missing);
    tokens
}

/// By the value of the model's head, or by the probabilities of the first token. A response of which the endpoint says nothing, or neither Yes nor
/// No, has no score.
fn score_by_endpoint(
    remote: &Remote,
    shard: &Shard<'_>,
    pairs: &[Scorable<'_>],
    domain: Domain,
    pooled: bool,
) -> Result<Vec<Scored>, StageError> {
    let verify = |pair: &Scorable<'_>| Question {
        text: rewarding(pair.question, pair.response, domain),
        shape: Shape::Conversation,
        temperature: 0.0,
        top_p: 1.0,
        top_k: None,
        max_new_tokens: 1,
        seed: 0,
        alternatives: true,
    };
    let question = |pair: &Scorable<'_>| match pooled {
        true => Question::scored(pair.question.into(), pair.response.into()),
        false => verify(pair),
    };
    let questions = pairs
        .iter()
        .map(|pair| (pair.key, question(pair)))
        .collect();
    let mut scores = Vec::with_capacity(pairs.len());
    remote.ask(shard, questions, usize::MAX, &mut |_, outcome| {
        scores.push(match outcome {
            Ok(reply) => Scored {
                value: match pooled {
                    true => reply.score,
                    false => yes_against_no(&reply.alternatives),
                },
                tokens: reply.tokens(),
            },
            Err(_) => Scored {
                value: None,
                tokens: 0,
            },
        });
    })?;
    Ok(scores)
}

/// Probability of Yes against No, over all their spellings; `None` where neither is among the likeliest tokens.
fn yes_against_no(alternatives: &[Alternative]) -> Option<f64> {
    let weight = |answer: bool| -> f64 {
        let said = alternatives
            .iter()
            .filter(|each| says(&each.token) == Some(answer));
        said.map(|each| each.logprob.exp()).sum()
    };
    let (yes, no) = (weight(true), weight(false));
    Some(yes / (yes + no)).filter(|share| share.is_finite())
}

/// The tokens that say Yes (or No) as the first of an answer: whole words where the vocabulary has them, else what they begin with.
fn word_tokens(tokenizer: &Tokenizer, answer: bool) -> Result<BTreeSet<u32>, StageError> {
    let word = if answer { "Yes" } else { "No" };
    let (mut whole, mut first) = (BTreeSet::new(), BTreeSet::new());
    for word in [word.to_owned(), word.to_lowercase(), word.to_uppercase()] {
        for spelling in [word.clone(), format!(" {word}")] {
            let Some(&token) = tokenizer.encode_plain(&spelling)?.first() else {
                continue;
            };
            first.insert(token);
            if says(&tokenizer.decode(&[token])?) == Some(answer) {
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
    fn a_reward_is_read_at_the_last_token_or_at_the_models_own_which_is_there_once() {
        assert_eq!(read_at(None, vec![1, 2]), [1, 2]);
        assert_eq!(read_at(Some(9), vec![1, 2]), [1, 2, 9]);
        assert_eq!(read_at(Some(9), vec![1, 9]), [1, 9]);
    }

    #[test]
    fn yes_is_weighed_against_no_over_all_spellings() {
        let alternatives = |said: &[(&str, f64)]| -> Vec<Alternative> {
            let one = |(token, share): &(&str, f64)| Alternative {
                token: (*token).into(),
                logprob: share.ln(),
            };
            said.iter().map(one).collect()
        };
        let share = |said: &[(&str, f64)]| yes_against_no(&alternatives(said));
        let yes = share(&[("Yes", 0.5), (" no", 0.2), ("YES", 0.1), ("Perhaps", 0.2)]).unwrap();
        assert!((yes - 0.75).abs() < 1e-12, "{yes}");
        assert_eq!(share(&[("No", 0.9)]), Some(0.0));
        assert_eq!(share(&[("Perhaps", 1.0)]), None);
        assert_eq!(share(&[]), None);
    }
}
