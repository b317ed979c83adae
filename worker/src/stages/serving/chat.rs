//! A chat model: one question, a conversation of its own, some answers.

use scalequest_crds::row::Reason;
use scalequest_crds::run::Sampling;
use scalequest_crds::task::{ModelLocation, ModelUse};

use super::remote::Remote;
use super::{Answers, Asked, Said, Serving, draws, resolved, stop_tokens};
use crate::endpoint::{Declined, Question, Reply};
use crate::model::ChatMessage;
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
        if let ModelLocation::Endpoint(at) = &model.location {
            return Ok(ChatModel(By::Endpoint(Box::new(Remote::open(
                shard, model, at,
            )?))));
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
    let (count, draw) = (samples.max(1), draws(shard, ""));
    let resolved = resolved(sampling);
    let question = |prompt: &Prompt, index: i32| Question {
        text: prompt.text.clone(),
        temperature: resolved.temperature,
        top_p: resolved.top_p,
        top_k: resolved.top_k,
        max_new_tokens: sampling
            .max_new_tokens
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(512),
        // 31 bits: some servers take a signed number.
        seed: (draw.bits(prompt.id as u64, index as u64) >> 33) as u32,
        alternatives: false,
    };
    let questions = prompts
        .iter()
        .flat_map(|prompt| (0..count).map(move |index| (prompt, index)))
        .map(|(prompt, index)| ((prompt.id, index), question(prompt, index)))
        .collect();
    let count = usize::try_from(count).unwrap_or(1);
    let mut together = Vec::with_capacity(count);
    remote.ask(shard, questions, count, &mut |place, outcome| {
        together.push(outcome);
        if together.len() == count {
            take(place / count, answers(std::mem::take(&mut together)));
        }
    })
}

/// What came of one prompt: its answers, unless one of them was declined.
fn answers(outcomes: Vec<Result<Reply, Declined>>) -> Asked {
    let mut answers = Answers {
        prompt_tokens: 0,
        texts: Vec::with_capacity(outcomes.len()),
    };
    for outcome in outcomes {
        let reply = match outcome {
            Ok(reply) => reply,
            Err(Declined::TooLong(said)) => return Asked::Declined(Reason::PromptTooLong, said),
            Err(Declined::Refused(said)) => return Asked::Declined(Reason::Refused, said),
        };
        // A prompt is paid for with each of its answers.
        answers.prompt_tokens += reply.prompt_tokens.unwrap_or(0);
        answers.texts.push(Said {
            tokens: reply
                .new_tokens
                .and_then(|tokens| i32::try_from(tokens).ok())
                .unwrap_or(0),
            finished: reply.finished,
            text: reply.text,
        });
    }
    Asked::Said(answers)
}
