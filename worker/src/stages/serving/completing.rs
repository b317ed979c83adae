//! A generator as it is asked for questions: it goes on from the bare question prefix of its own chat template, here or on a server.

use scalequest_crds::protocol::task::ModelUse;
use scalequest_crds::v1alpha1::Sampling;

use super::remote::{Remote, asked, question};
use super::{Asked, Serving, stop_tokens};
use crate::openai::Shape;
use crate::stages::StageError;
use crate::stages::models::open_model;
use crate::stages::shard::Shard;

/// A model with the prefix that it goes on from.
pub struct PrefixModel(By);

/// What goes on.
enum By {
    /// The built-in engine.
    Engine {
        serving: Box<Serving>,
        prefix: Vec<u32>,
        stops: Vec<u32>,
    },
    /// A server.
    Server {
        remote: Box<Remote>,
        prefix: String,
        end: String,
    },
}

impl PrefixModel {
    /// Loads a generator, or starts its server.
    ///
    /// # Errors
    /// The model does not load, its template has no question prefix, or the server cannot be used.
    pub fn load(
        shard: &Shard<'_>,
        model: &ModelUse,
        system_prompt: Option<&str>,
    ) -> Result<Self, StageError> {
        if let Some(remote) = Remote::of(shard, model)? {
            let checkpoint = open_model(shard, model)?;
            let tokenizer = checkpoint.tokenizer()?;
            let template = checkpoint.chat_template(&tokenizer)?;
            let prefix = template.question_prefix(system_prompt)?;
            return Ok(PrefixModel(By::Server {
                remote: Box::new(remote),
                prefix: tokenizer.without_added(&prefix.text)?.to_owned(),
                end: prefix.end,
            }));
        }
        let serving = Box::new(Serving::load(shard, model)?);
        let prefix = serving.template()?.question_prefix(system_prompt)?;
        let tokens = serving.tokenizer().encode(&prefix.text)?;
        // Any special token ends a question: a model that opens another turn has finished this one.
        let mut stops = stop_tokens(serving.tokenizer());
        if !stops.contains(&prefix.end_token) {
            stops.push(prefix.end_token);
        }
        Ok(PrefixModel(By::Engine {
            serving,
            prefix: tokens,
            stops,
        }))
    }

    /// Goes on from the prefix once for each id, which keys the draws; `take` hears what came of it, with the id's place, in order.
    ///
    /// # Errors
    /// The arithmetic fails, the server cannot be used, or a stop was asked for.
    pub fn go_on(
        &self,
        shard: &Shard<'_>,
        ids: &[i64],
        sampling: &Sampling,
        take: &mut dyn FnMut(usize, Asked),
    ) -> Result<(), StageError> {
        match &self.0 {
            By::Engine {
                serving,
                prefix,
                stops,
            } => {
                let prompts: Vec<_> = ids.iter().map(|id| (*id, prefix.clone())).collect();
                serving.complete(shard, &prompts, stops, 1, sampling, take)
            }
            By::Server {
                remote,
                prefix,
                end,
            } => {
                let shape = || Shape::Prefix {
                    stops: vec![end.clone()],
                };
                let sample = |id: &i64| {
                    let sample = (*id, 0);
                    (
                        sample,
                        question(shard, shape(), prefix.clone(), sampling, sample),
                    )
                };
                let questions = ids.iter().map(sample).collect();
                remote.ask(shard, questions, 1, &mut |place, outcome| {
                    take(place, asked(vec![outcome]))
                })
            }
        }
    }

    /// The arithmetic body, or which server.
    pub fn body(&self) -> String {
        match &self.0 {
            By::Engine { serving, .. } => serving.body(),
            By::Server { remote, .. } => remote.body(),
        }
    }
}
