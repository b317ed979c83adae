//! Models as the stages ask them: prompts in, texts or scores out, in the order asked. It joins tokenizer, chat template and
//! engine, turns a stop into [`StageError::Stopped`], and knows no stage and no row.

mod chat;

mod completing;

mod reward;

mod difficulty;

mod paid;

mod remote;

mod scored;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::protocol::task::ModelUse;
use scalequest_crds::v1alpha1::{RejectReason, Sampling};
use scalequest_engine::inference::{
    self, Bounds, Draw, Engine, Finish, GenerateRequest, Generation, Generator, InferenceError,
};
use scalequest_engine::model::{ChatTemplate, Tokenizer};

use super::StageError;
use super::draw_keys::draw_key;
use super::models::open_model;
use super::shard::{Base, Shard};
use crate::dtype::engine_dtype;

pub use chat::{ChatModel, Prompt};
pub use completing::PrefixModel;
pub use difficulty::DifficultyModel;
pub use reward::{RewardModel, Scorable};
pub use scored::Scored;

/// A loaded model.
pub struct Serving {
    name: String,
    engine: Engine,
    tokenizer: Tokenizer,
    template: Result<ChatTemplate, String>,
}

/// What came of one prompt.
#[derive(Clone, Debug)]
pub enum Asked {
    /// Texts.
    Said(Answers),
    /// Nothing, and why not: the prompt does not fit the model's context, or the endpoint that serves the model refuses it. The text is for
    /// the reject's detail.
    Declined(RejectReason, String),
}

/// The texts said to one prompt.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Tokens of the prompt.
    pub prompt_tokens: i64,
    /// One for each sample.
    pub texts: Vec<Said>,
}

impl Answers {
    /// Tokens drawn for all texts.
    pub fn new_tokens(&self) -> i64 {
        self.texts.iter().map(|said| i64::from(said.tokens)).sum()
    }
}

/// One text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The text, without special tokens.
    pub text: String,
    /// Tokens drawn.
    pub tokens: i32,
    /// Whether it ended by itself.
    pub finished: bool,
}

impl Serving {
    /// Loads the model that a task names.
    ///
    /// # Errors
    /// See [`open_model`]; a tensor cannot be used.
    pub fn load(shard: &Shard<'_>, model: &ModelUse) -> Result<Self, StageError> {
        let checkpoint = open_model(shard, model)?;
        let tokenizer = checkpoint.tokenizer()?;
        let template = checkpoint
            .chat_template(&tokenizer)
            .map_err(|error| error.to_string());
        shard.stop.check()?;
        shard.progressing.begin("load model");
        let engine = Engine::load(&checkpoint, engine_dtype(model.arithmetic))?;
        Ok(Serving {
            name: model.name.clone(),
            engine,
            tokenizer,
            template,
        })
    }

    /// The model's chat template.
    ///
    /// # Errors
    /// It has none.
    pub fn template(&self) -> Result<&ChatTemplate, StageError> {
        self.template
            .as_ref()
            .map_err(|error| StageError::Task(format!("model `{}`: {error}", self.name)))
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The arithmetic body: the same bits on every processor.
    pub fn body(&self) -> String {
        self.engine.arithmetic().body_name().to_owned()
    }

    /// Completes each prompt `samples` times and hands what came of it to `take`, with the prompt's place, in order and as soon as it
    /// is known. Draws are keyed by run seed, stage, generator and `id * samples + index`.
    ///
    /// # Errors
    /// The model's values are not finite, or a stop was asked for.
    pub fn complete(
        &self,
        shard: &Shard<'_>,
        prompts: &[(i64, Vec<u32>)],
        stops: &[u32],
        samples: i32,
        sampling: &Sampling,
        take: &mut dyn FnMut(usize, Asked),
    ) -> Result<(), StageError> {
        let count = usize::try_from(samples).unwrap_or(0).max(1);
        let requests: Vec<_> = prompts
            .iter()
            .flat_map(|(id, prompt)| (0..count).map(move |index| (*id, prompt, index)))
            .map(|(id, prompt, index)| GenerateRequest {
                id: (id as u64)
                    .wrapping_mul(count as u64)
                    .wrapping_add(index as u64),
                prompt: prompt.clone(),
                sampling: resolved(sampling),
                max_new_tokens: sampling
                    .max_new_tokens
                    .and_then(|n| usize::try_from(n).ok())
                    .unwrap_or(512),
                stop_tokens: stops.to_vec(),
                stop_strings: Vec::new(),
            })
            .collect();
        let generator = Generator::new(
            &self.engine,
            &self.tokenizer,
            draws(shard, ""),
            Bounds::generating(),
        );
        let base = shard.base.get();
        let mut place = 0;
        let mut texts = Vec::with_capacity(count);
        let mut gather = |generation: Generation| {
            texts.push(generation);
            if texts.len() == count {
                take(
                    place,
                    self.asked(prompts[place].1.len(), std::mem::take(&mut texts)),
                );
                place += 1;
            }
        };
        generator
            .generate_in_order(
                &requests,
                &mut |progress| watch(shard, base, progress, count),
                &mut gather,
            )
            .map_err(|error| self.failed(error))
    }

    fn asked(&self, prompt_tokens: usize, texts: Vec<Generation>) -> Asked {
        if texts
            .iter()
            .any(|generation| generation.finish == Finish::PromptTooLong)
        {
            let context = self.engine.config().max_position_embeddings;
            let detail = format!(
                "{prompt_tokens} prompt tokens leave no room in the model's context of {context}"
            );
            return Asked::Declined(RejectReason::PromptTooLong, detail);
        }
        let said = |generation: Generation| Said {
            tokens: i32::try_from(generation.tokens.len()).unwrap_or(i32::MAX),
            finished: generation.finish == Finish::Stop,
            text: generation.text,
        };
        Asked::Said(Answers {
            prompt_tokens: prompt_tokens as i64,
            texts: texts.into_iter().map(said).collect(),
        })
    }

    fn failed(&self, error: InferenceError) -> StageError {
        let message = format!("model `{}`: {error}", self.name);
        match error {
            InferenceError::Cancelled => StageError::Stopped,
            InferenceError::Model(error) if !error.is_permanent() => {
                StageError::world(&error, message)
            }
            _ => StageError::Task(message),
        }
    }

    /// The tokens of a rendered conversation. A special token that somebody wrote into `contents` stays plain text.
    fn tokens(&self, rendered: &str, contents: &[&str]) -> Result<Vec<u32>, StageError> {
        let mut tokens = Vec::new();
        let mut rest = rendered;
        for content in contents.iter().map(|content| content.trim()) {
            let hostile = self
                .tokenizer
                .control_tokens()
                .values()
                .any(|special| !special.is_empty() && content.contains(special.as_str()));
            if hostile && let Some((before, after)) = rest.split_once(content) {
                tokens.extend(self.tokenizer.encode(before)?);
                tokens.extend(self.tokenizer.encode_plain(content)?);
                rest = after;
            }
        }
        tokens.extend(self.tokenizer.encode(rest)?);
        Ok(tokens)
    }
}

impl Drop for Serving {
    /// Says for how long the model computed: what is missing to the worker's whole time is loading, sampling and the stage's own work.
    fn drop(&mut self) {
        let (model, seconds) = (&self.name, self.engine.busy().as_secs_f64());
        tracing::info!(model, seconds, "the model has computed");
    }
}

/// The random draws of a task, and of further purposes within it.
pub fn draws(shard: &Shard<'_>, purpose: &str) -> Draw {
    let generator = shard.task.generator.as_deref().unwrap_or_default();
    let stage = [draw_key(shard.task.stage), generator, purpose].join("/");
    Draw::new(shard.task.seed as u64, stage.trim_end_matches('/'))
}

fn resolved(sampling: &Sampling) -> inference::Sampling {
    let top_k = sampling
        .top_k
        .and_then(|k| usize::try_from(k).ok())
        .filter(|k| *k > 0);
    inference::Sampling {
        temperature: sampling.temperature.unwrap_or(0.0),
        top_p: sampling.top_p.unwrap_or(1.0),
        top_k,
    }
}

/// Says how far a call is that began at `base`, and whether to break off.
fn watch(
    shard: &Shard<'_>,
    base: Base,
    progress: inference::Progress,
    samples: usize,
) -> ControlFlow<()> {
    shard.progressing.say(Progress {
        doing: shard.task.stage.slug().into(),
        done: base.rows + (progress.rows / samples.max(1)) as i64,
        total: shard.range.end - shard.range.start,
        tokens: base.tokens + (progress.prompt_tokens + progress.new_tokens) as i64,
        loss: None,
    });
    if shard.stop.is_asked() {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// Every special token ends a turn: none of them belongs into a text.
pub fn stop_tokens(tokenizer: &Tokenizer) -> Vec<u32> {
    let mut stops: BTreeSet<u32> = tokenizer.control_tokens().keys().copied().collect();
    stops.extend(tokenizer.end_tokens());
    stops.into_iter().collect()
}
