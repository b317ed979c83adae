//! A generator that completes the bare question prefix of its own chat template, in the built-in engine or on a server.

use scalequest_crds::protocol::task::ModelUse;
use scalequest_crds::v1alpha1::Sampling;

use super::endpoint_model::{EndpointModel, completion, request};
use super::{Completion, EngineModel, stop_tokens};
use crate::openai::Api;
use crate::stages::StageError;
use crate::stages::open_model::open_model;
use crate::stages::shard::Shard;

/// A model with the prefix that it completes.
pub struct PrefixModel(Backend);

/// What runs the model.
enum Backend {
    /// The built-in engine.
    Engine {
        model: Box<EngineModel>,
        prefix: Vec<u32>,
        stops: Vec<u32>,
    },
    /// A server.
    Server {
        endpoint: Box<EndpointModel>,
        prefix: String,
        end: String,
    },
}

impl PrefixModel {
    /// Loads a generator, or connects to its server.
    ///
    /// # Errors
    /// The model does not load, its template has no question prefix, or the server cannot be used.
    pub fn load(
        shard: &Shard<'_>,
        model: &ModelUse,
        system_prompt: Option<&str>,
    ) -> Result<Self, StageError> {
        if let Some(endpoint) = EndpointModel::for_model(shard, model)? {
            let checkpoint = open_model(shard, model)?;
            let tokenizer = checkpoint.tokenizer()?;
            let template = checkpoint.chat_template(&tokenizer)?;
            let prefix = template.question_prefix(system_prompt)?;
            return Ok(PrefixModel(Backend::Server {
                endpoint: Box::new(endpoint),
                prefix: tokenizer.without_added(&prefix.text)?.to_owned(),
                end: prefix.end,
            }));
        }
        let model = Box::new(EngineModel::load(shard, model)?);
        let prefix = model.template()?.question_prefix(system_prompt)?;
        let tokens = model.tokenizer().encode(&prefix.text)?;
        // Any special token ends a question: a model that opens another turn has finished this one.
        let mut stops = stop_tokens(model.tokenizer());
        if !stops.contains(&prefix.end_token) {
            stops.push(prefix.end_token);
        }
        Ok(PrefixModel(Backend::Engine {
            model,
            prefix: tokens,
            stops,
        }))
    }

    /// Completes the prefix once for each id, which keys the random draws, and calls `on_completion` with the id's index, in
    /// order.
    ///
    /// # Errors
    /// The computation fails, the server cannot be used, or the task is cancelled.
    pub fn complete(
        &self,
        shard: &Shard<'_>,
        ids: &[i64],
        sampling: &Sampling,
        on_completion: &mut dyn FnMut(usize, Completion),
    ) -> Result<(), StageError> {
        match &self.0 {
            Backend::Engine {
                model,
                prefix,
                stops,
            } => {
                let prompts: Vec<_> = ids.iter().map(|id| (*id, prefix.clone())).collect();
                model.complete(shard, &prompts, stops, 1, sampling, on_completion)
            }
            Backend::Server {
                endpoint,
                prefix,
                end,
            } => {
                let api = || Api::Completions {
                    stops: vec![end.clone()],
                };
                let keyed_request = |id: &i64| {
                    let sample = (*id, 0);
                    let request = request(shard, api(), prefix.clone(), sampling, sample);
                    (sample, request)
                };
                let requests = ids.iter().map(keyed_request).collect();
                endpoint.send(shard, requests, 1, &mut |index, reply| {
                    on_completion(index, completion(vec![reply]))
                })
            }
        }
    }

    /// Returns the name of the compute backend or of the server.
    pub fn compute_backend(&self) -> String {
        match &self.0 {
            Backend::Engine { model, .. } => model.compute_backend(),
            Backend::Server { endpoint, .. } => endpoint.compute_backend(),
        }
    }
}
