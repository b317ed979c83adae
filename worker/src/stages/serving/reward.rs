//! A model that scores responses: one with a scalar head, or a chat model that is asked whether the solution is correct.

use std::collections::BTreeSet;

use scalequest_crds::run::Domain;
use scalequest_crds::task::ModelUse;

use super::{Scored, Serving, watch};
use crate::inference;
use crate::model::{ChatMessage, Head, Tokenizer};
use crate::prompts::rewarding::{rewarding, says};
use crate::stages::StageError;
use crate::stages::shard::Shard;

/// A model that scores responses.
pub struct RewardModel {
    serving: Serving,
    asked: Verifier,
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

impl RewardModel {
    /// Loads a reward model: one with a scalar head, or a chat model.
    ///
    /// # Errors
    /// As [`Serving::load`]; or it is neither.
    pub fn load(shard: &Shard<'_>, model: &ModelUse) -> Result<Self, StageError> {
        let serving = Serving::load(shard, model)?;
        serving.template()?;
        let asked = match serving.engine.config().head {
            Head::Scalar => Verifier::Head,
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
        Ok(RewardModel { serving, asked })
    }

    /// Scores (question, response) pairs.
    ///
    /// # Errors
    /// The template does not render, the model's values are not finite, or a stop was asked for.
    pub fn score(
        &self,
        shard: &Shard<'_>,
        pairs: &[(&str, &str)],
        domain: Domain,
    ) -> Result<Vec<Scored>, StageError> {
        let template = self.serving.template()?;
        let mut sequences = Vec::with_capacity(pairs.len());
        for (question, response) in pairs {
            sequences.push(match &self.asked {
                Verifier::Head => {
                    let rendered = template.render(
                        &[
                            ChatMessage::user(*question),
                            ChatMessage::assistant(*response),
                        ],
                        false,
                    )?;
                    self.serving.tokens(&rendered, &[question, response])?
                }
                Verifier::Words { .. } => {
                    let text = rewarding(question, response, domain);
                    self.serving.tokens(
                        &template.render(&[ChatMessage::user(text.as_str())], true)?,
                        &[&text],
                    )?
                }
            });
        }
        let base = shard.base.get();
        self.serving
            .scored(sequences, |scorer, sequences| match &self.asked {
                Verifier::Head => {
                    let values = scorer.scores(sequences, &mut |progress| {
                        watch(
                            shard,
                            base,
                            inference::Progress {
                                rows: 0,
                                ..progress
                            },
                            1,
                        )
                    })?;
                    Ok(values.into_iter().map(f64::from).collect())
                }
                Verifier::Words { yes, no } => {
                    scorer.yes_probabilities(sequences, yes, no, &mut |progress| {
                        watch(
                            shard,
                            base,
                            inference::Progress {
                                rows: 0,
                                ..progress
                            },
                            1,
                        )
                    })
                }
            })
    }

    /// The arithmetic body.
    pub fn body(&self) -> String {
        self.serving.body()
    }
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
