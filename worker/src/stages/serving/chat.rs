//! A chat model: one question, a conversation of its own, some answers.

use scalequest_crds::protocol::task::ModelUse;
use scalequest_crds::v1alpha1::Sampling;
use scalequest_engine::model::ChatMessage;

use super::remote::{Remote, asked, question};
use super::{Asked, Serving, stop_tokens};
use crate::openai::Shape;
use crate::stages::StageError;
use crate::stages::shard::Shard;

/// A chat model.
pub struct ChatModel(By);

/// What answers.
enum By {
    /// The built-in engine.
    Engine {
        serving: Box<Serving>,
        stops: Vec<u32>,
    },
    /// An endpoint.
    Endpoint(Box<Remote>),
}

/// A question to a chat model.
#[derive(Clone, Debug)]
pub struct Prompt {
    id: i64,
    text: String,
}

impl Prompt {
    /// What a user says; `id` keys the draws.
    pub fn new(id: i64, text: String) -> Self {
        Prompt { id, text }
    }
}

/// What opens a reasoning model's thoughts, where the template has it in the prompt already.
const THINK: &str = "<think>";

impl ChatModel {
    /// Loads a chat model, or opens the endpoint that serves it.
    ///
    /// # Errors
    /// As [`Serving::load`]; it has no chat template. Or the endpoint cannot be used.
    pub fn load(shard: &Shard<'_>, model: &ModelUse) -> Result<Self, StageError> {
        if let Some(remote) = Remote::of(shard, model)? {
            return Ok(ChatModel(By::Endpoint(Box::new(remote))));
        }
        let serving = Box::new(Serving::load(shard, model)?);
        serving.template()?;
        let stops = stop_tokens(&serving.tokenizer);
        Ok(ChatModel(By::Engine { serving, stops }))
    }

    /// Asks every prompt `samples` times, each as a conversation of its own; `take` hears what came of it as in
    /// [`Serving::complete`].
    ///
    /// # Errors
    /// The template does not render, or as [`Serving::complete`], or the endpoint cannot be used.
    pub fn ask(
        &self,
        shard: &Shard<'_>,
        prompts: &[Prompt],
        samples: i32,
        sampling: &Sampling,
        take: &mut dyn FnMut(usize, Asked),
    ) -> Result<(), StageError> {
        match &self.0 {
            By::Engine { serving, stops } => {
                ask_engine(serving, stops, shard, prompts, samples, sampling, take)
            }
            By::Endpoint(remote) => ask_endpoint(remote, shard, prompts, samples, sampling, take),
        }
    }

    /// The arithmetic body, or which model answers.
    pub fn body(&self) -> String {
        match &self.0 {
            By::Engine { serving, .. } => serving.body(),
            By::Endpoint(remote) => remote.body(),
        }
    }
}

fn ask_engine(
    serving: &Serving,
    stops: &[u32],
    shard: &Shard<'_>,
    prompts: &[Prompt],
    samples: i32,
    sampling: &Sampling,
    take: &mut dyn FnMut(usize, Asked),
) -> Result<(), StageError> {
    let template = serving.template()?;
    let mut opened = false;
    let mut encoded = Vec::with_capacity(prompts.len());
    for Prompt { id, text } in prompts {
        let rendered = template.render(&[ChatMessage::user(text.as_str())], true)?;
        opened |= rendered.trim_end().ends_with(THINK);
        encoded.push((*id, serving.tokens(&rendered, &[text])?));
    }
    let mut open_thoughts = |place, mut asked| {
        if let Asked::Said(answers) = &mut asked
            && opened
        {
            answers
                .texts
                .iter_mut()
                .for_each(|said| said.text.insert_str(0, "<think>\n"));
        }
        take(place, asked);
    };
    serving.complete(
        shard,
        &encoded,
        stops,
        samples,
        sampling,
        &mut open_thoughts,
    )
}

/// One request for each sample, so that each has a seed of its own and none is lost with another.
fn ask_endpoint(
    remote: &Remote,
    shard: &Shard<'_>,
    prompts: &[Prompt],
    samples: i32,
    sampling: &Sampling,
    take: &mut dyn FnMut(usize, Asked),
) -> Result<(), StageError> {
    let count = samples.max(1);
    let samples = |prompt: &Prompt| {
        (0..count)
            .map(|index| (prompt.id, index))
            .collect::<Vec<_>>()
    };
    let questions = prompts
        .iter()
        .flat_map(|prompt| {
            samples(prompt)
                .into_iter()
                .map(move |sample| (prompt, sample))
        })
        .map(|(prompt, sample)| {
            let text = prompt.text.clone();
            (
                sample,
                question(shard, Shape::Conversation, text, sampling, sample),
            )
        })
        .collect();
    let count = usize::try_from(count).unwrap_or(1);
    let mut together = Vec::with_capacity(count);
    remote.ask(shard, questions, count, &mut |place, outcome| {
        together.push(outcome);
        if together.len() == count {
            take(place / count, asked(std::mem::take(&mut together)));
        }
    })
}
