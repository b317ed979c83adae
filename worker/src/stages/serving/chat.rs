//! A chat model: one question, a conversation of its own, some answers.

use scalequest_crds::run::Sampling;
use scalequest_crds::task::ModelUse;

use super::{Asked, Serving, stop_tokens};
use crate::model::ChatMessage;
use crate::stages::StageError;
use crate::stages::shard::Shard;

/// A chat model.
pub struct ChatModel {
    serving: Serving,
    stops: Vec<u32>,
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
    /// Loads a chat model.
    ///
    /// # Errors
    /// As [`Serving::load`]; it has no chat template.
    pub fn load(shard: &Shard<'_>, model: &ModelUse) -> Result<Self, StageError> {
        let serving = Serving::load(shard, model)?;
        serving.template()?;
        let stops = stop_tokens(&serving.tokenizer);
        Ok(ChatModel { serving, stops })
    }

    /// Asks every prompt `samples` times, each as a conversation of its own; `take` hears what came of it as in
    /// [`Serving::complete`].
    ///
    /// # Errors
    /// The template does not render, or as [`Serving::complete`].
    pub fn ask(
        &self,
        shard: &Shard<'_>,
        prompts: &[Prompt],
        samples: i32,
        sampling: &Sampling,
        take: &mut dyn FnMut(usize, Asked),
    ) -> Result<(), StageError> {
        let template = self.serving.template()?;
        let mut opened = false;
        let mut encoded = Vec::with_capacity(prompts.len());
        for Prompt { id, text } in prompts {
            let rendered = template.render(&[ChatMessage::user(text.as_str())], true)?;
            opened |= rendered.trim_end().ends_with(THINK);
            encoded.push((*id, self.serving.tokens(&rendered, &[text])?));
        }
        self.serving.complete(
            shard,
            &encoded,
            &self.stops,
            samples,
            sampling,
            &mut |place, mut asked| {
                if let Asked::Said(answers) = &mut asked
                    && opened
                {
                    answers
                        .texts
                        .iter_mut()
                        .for_each(|said| said.text.insert_str(0, "<think>\n"));
                }
                take(place, asked);
            },
        )
    }

    /// The arithmetic body.
    pub fn body(&self) -> String {
        self.serving.body()
    }
}
