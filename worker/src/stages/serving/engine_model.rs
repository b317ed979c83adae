//! A model that the built-in engine runs: joins tokenizer, chat template and engine.

use scalequest_crds::protocol::task::ModelUse;
use scalequest_crds::v1alpha1::{RejectReason, Sampling};
use scalequest_engine::inference::{
    BatchLimits, Engine, Finish, GenerateRequest, Generation, Generator, InferenceError,
};
use scalequest_engine::model::{ChatTemplate, Tokenizer};

use super::{
    Completion, GeneratedText, GeneratedTexts, keyed_rng, report_progress, resolve_sampling,
};
use crate::dtype::engine_dtype;
use crate::stages::StageError;
use crate::stages::open_model::open_model;
use crate::stages::shard::Shard;

/// A model that the built-in engine runs.
pub struct EngineModel {
    name: String,
    pub(super) engine: Engine,
    pub(super) tokenizer: Tokenizer,
    template: Result<ChatTemplate, String>,
}

impl EngineModel {
    /// Loads the model of a task.
    ///
    /// # Errors
    /// See [`open_model`]; a tensor cannot be used.
    pub fn load(shard: &Shard<'_>, model: &ModelUse) -> Result<Self, StageError> {
        let checkpoint = open_model(shard, model)?;
        let tokenizer = checkpoint.tokenizer()?;
        let template = checkpoint
            .chat_template(&tokenizer)
            .map_err(|error| error.to_string());
        shard.cancellation.check()?;
        shard.reporter.set_activity("load model");
        let engine = Engine::load(&checkpoint, engine_dtype(model.dtype))?;
        Ok(EngineModel {
            name: model.name.clone(),
            engine,
            tokenizer,
            template,
        })
    }

    /// Returns the model's chat template.
    ///
    /// # Errors
    /// The model has none.
    pub fn template(&self) -> Result<&ChatTemplate, StageError> {
        self.template
            .as_ref()
            .map_err(|error| StageError::Permanent(format!("model `{}`: {error}", self.name)))
    }

    /// Returns the model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Returns the name of the compute backend, which gives the same bits on every processor.
    pub fn compute_backend(&self) -> String {
        self.engine.dtype().backend_name().to_owned()
    }

    /// Completes each prompt `samples` times and calls `on_completion` with the prompt's index, in order and as soon as a
    /// completion is known. Random draws are keyed by run seed, stage, generator and `id * samples + index`.
    ///
    /// # Errors
    /// The model's values are not finite, or the task is cancelled.
    pub fn complete(
        &self,
        shard: &Shard<'_>,
        prompts: &[(i64, Vec<u32>)],
        stops: &[u32],
        samples: i32,
        sampling: &Sampling,
        on_completion: &mut dyn FnMut(usize, Completion),
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
                sampling: resolve_sampling(sampling),
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
            keyed_rng(shard, None),
            BatchLimits::generating(),
        );
        let base = shard.progress_base.get();
        let mut prompt = 0;
        let mut texts = Vec::with_capacity(count);
        let mut gather = |generation: Generation| {
            texts.push(generation);
            if texts.len() == count {
                let prompt_tokens = prompts[prompt].1.len();
                on_completion(
                    prompt,
                    self.completion(prompt_tokens, std::mem::take(&mut texts)),
                );
                prompt += 1;
            }
        };
        generator
            .generate_in_order(
                &requests,
                &mut |progress| report_progress(shard, base, progress, count),
                &mut gather,
            )
            .map_err(|error| self.stage_error(error))
    }

    fn completion(&self, prompt_tokens: usize, texts: Vec<Generation>) -> Completion {
        if texts
            .iter()
            .any(|generation| generation.finish == Finish::PromptTooLong)
        {
            let context = self.engine.config().max_position_embeddings;
            let detail = format!(
                "{prompt_tokens} prompt tokens leave no room in the model's context of {context}"
            );
            return Completion::Rejected(RejectReason::PromptTooLong, detail);
        }
        let text = |generation: Generation| GeneratedText {
            tokens: i32::try_from(generation.tokens.len()).unwrap_or(i32::MAX),
            finished: generation.finish == Finish::Stop,
            text: generation.text,
        };
        Completion::Generated(GeneratedTexts {
            prompt_tokens: prompt_tokens as i64,
            texts: texts.into_iter().map(text).collect(),
        })
    }

    pub(super) fn stage_error(&self, error: InferenceError) -> StageError {
        let message = format!("model `{}`: {error}", self.name);
        match error {
            InferenceError::Cancelled => StageError::Stopped,
            InferenceError::Model(error) => StageError::of(&error, error.is_permanent(), message),
            _ => StageError::Permanent(message),
        }
    }

    /// Tokenizes a rendered conversation. Text in `contents` that spells a special token stays plain text.
    pub(super) fn tokenize(
        &self,
        rendered: &str,
        contents: &[&str],
    ) -> Result<Vec<u32>, StageError> {
        let mut tokens = Vec::new();
        let mut rest = rendered;
        for content in contents.iter().map(|content| content.trim()) {
            let spells_special_token = self
                .tokenizer
                .control_tokens()
                .values()
                .any(|special| !special.is_empty() && content.contains(special.as_str()));
            if spells_special_token && let Some((before, after)) = rest.split_once(content) {
                tokens.extend(self.tokenizer.encode(before)?);
                tokens.extend(self.tokenizer.encode_plain(content)?);
                rest = after;
            }
        }
        tokens.extend(self.tokenizer.encode(rest)?);
        Ok(tokens)
    }
}

impl Drop for EngineModel {
    /// Logs for how long the model computed; the rest of the worker's time is loading, sampling and the stage's own work.
    fn drop(&mut self) {
        let (model, seconds) = (&self.name, self.engine.busy().as_secs_f64());
        tracing::info!(model, seconds, "model compute time");
    }
}
