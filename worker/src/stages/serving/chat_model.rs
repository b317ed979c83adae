//! A chat model: each prompt is a conversation of its own, with some samples.

use scalequest_crds::protocol::task::ModelUse;
use scalequest_crds::v1alpha1::Sampling;
use scalequest_engine::model::ChatMessage;

use super::endpoint_model::{EndpointModel, completion, request};
use super::{Completion, EngineModel, stop_tokens};
use crate::openai::Api;
use crate::stages::StageError;
use crate::stages::shard::Shard;

/// A chat model.
pub struct ChatModel(Backend);

/// What runs the model.
enum Backend {
    /// The built-in engine.
    Engine {
        model: Box<EngineModel>,
        stops: Vec<u32>,
    },
    /// An endpoint.
    Endpoint(Box<EndpointModel>),
}

/// A prompt for a chat model.
#[derive(Clone, Debug)]
pub struct Prompt {
    id: i64,
    text: String,
}

impl Prompt {
    /// Creates a prompt from a user's message; `id` keys the random draws.
    pub fn new(id: i64, text: String) -> Self {
        Prompt { id, text }
    }
}

/// The tag that opens a reasoning model's thoughts; some templates end the prompt with it.
const THINK_TAG: &str = "<think>";

impl ChatModel {
    /// Loads a chat model, or connects to the endpoint that serves it.
    ///
    /// # Errors
    /// As [`EngineModel::load`], the model has no chat template, or the endpoint cannot be used.
    pub fn load(shard: &Shard<'_>, model: &ModelUse) -> Result<Self, StageError> {
        if let Some(endpoint) = EndpointModel::for_model(shard, model)? {
            return Ok(ChatModel(Backend::Endpoint(Box::new(endpoint))));
        }
        let model = Box::new(EngineModel::load(shard, model)?);
        model.template()?;
        let stops = stop_tokens(model.tokenizer());
        Ok(ChatModel(Backend::Engine { model, stops }))
    }

    /// Completes every prompt `samples` times and calls `on_completion` as [`EngineModel::complete`] does.
    ///
    /// # Errors
    /// The template does not render, as [`EngineModel::complete`], or the endpoint cannot be used.
    pub fn complete(
        &self,
        shard: &Shard<'_>,
        prompts: &[Prompt],
        samples: i32,
        sampling: &Sampling,
        on_completion: &mut dyn FnMut(usize, Completion),
    ) -> Result<(), StageError> {
        match &self.0 {
            Backend::Engine { model, stops } => complete_by_engine(
                model,
                stops,
                shard,
                prompts,
                samples,
                sampling,
                on_completion,
            ),
            Backend::Endpoint(endpoint) => {
                complete_by_endpoint(endpoint, shard, prompts, samples, sampling, on_completion)
            }
        }
    }

    /// Returns the name of the compute backend or of the endpoint's model.
    pub fn compute_backend(&self) -> String {
        match &self.0 {
            Backend::Engine { model, .. } => model.compute_backend(),
            Backend::Endpoint(endpoint) => endpoint.compute_backend(),
        }
    }
}

fn complete_by_engine(
    model: &EngineModel,
    stops: &[u32],
    shard: &Shard<'_>,
    prompts: &[Prompt],
    samples: i32,
    sampling: &Sampling,
    on_completion: &mut dyn FnMut(usize, Completion),
) -> Result<(), StageError> {
    let template = model.template()?;
    let mut opens_thoughts = false;
    let mut encoded = Vec::with_capacity(prompts.len());
    for Prompt { id, text } in prompts {
        let rendered = template.render(&[ChatMessage::user(text.as_str())], true)?;
        opens_thoughts |= rendered.trim_end().ends_with(THINK_TAG);
        encoded.push((*id, model.tokenize(&rendered, &[text])?));
    }
    let mut with_opened_thoughts = |prompt, mut completion| {
        if let Completion::Generated(generated) = &mut completion
            && opens_thoughts
        {
            generated
                .texts
                .iter_mut()
                .for_each(|text| text.text.insert_str(0, "<think>\n"));
        }
        on_completion(prompt, completion);
    };
    model.complete(
        shard,
        &encoded,
        stops,
        samples,
        sampling,
        &mut with_opened_thoughts,
    )
}

/// Sends one request for each sample, so that each has a seed of its own and none is lost with another.
fn complete_by_endpoint(
    endpoint: &EndpointModel,
    shard: &Shard<'_>,
    prompts: &[Prompt],
    samples: i32,
    sampling: &Sampling,
    on_completion: &mut dyn FnMut(usize, Completion),
) -> Result<(), StageError> {
    let count = samples.max(1);
    let samples = |prompt: &Prompt| {
        (0..count)
            .map(|index| (prompt.id, index))
            .collect::<Vec<_>>()
    };
    let requests = prompts
        .iter()
        .flat_map(|prompt| {
            samples(prompt)
                .into_iter()
                .map(move |sample| (prompt, sample))
        })
        .map(|(prompt, sample)| {
            let text = prompt.text.clone();
            (sample, request(shard, Api::Chat, text, sampling, sample))
        })
        .collect();
    let count = usize::try_from(count).unwrap_or(1);
    let mut replies = Vec::with_capacity(count);
    endpoint.send(shard, requests, count, &mut |index, reply| {
        replies.push(reply);
        if replies.len() == count {
            on_completion(index / count, completion(std::mem::take(&mut replies)));
        }
    })
}
