//! Generates text for many requests at once. Each row's tokens depend on its own request alone.

use std::ops::ControlFlow;

use rayon::prelude::*;

use super::schedule::{BatchLimits, SequenceOutputs, SequenceRequest, schedule};
use super::{
    CounterRng, Engine, Finish, GenerateRequest, Generation, InferenceError, Progress, sample_token,
};
use crate::model::Tokenizer;

/// Generates with one model.
pub struct Generator<'a> {
    engine: &'a Engine,
    tokenizer: &'a Tokenizer,
    rng: CounterRng,
    limits: BatchLimits,
}

impl<'a> Generator<'a> {
    /// Creates a generator that samples with the random numbers of `rng`.
    pub fn new(
        engine: &'a Engine,
        tokenizer: &'a Tokenizer,
        rng: CounterRng,
        limits: BatchLimits,
    ) -> Self {
        Self {
            engine,
            tokenizer,
            rng,
            limits,
        }
    }

    /// Generates every request; results are in the requests' order. `on_progress` is called before every step
    /// and may cancel.
    ///
    /// # Errors
    /// A request is impossible (an empty prompt, a token beyond the vocabulary), the model gives values that
    /// are not finite (naming layer and sample), or `on_progress` cancelled.
    pub fn generate(
        &self,
        requests: &[GenerateRequest],
        on_progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Vec<Generation>, InferenceError> {
        let mut all = Vec::with_capacity(requests.len());
        self.generate_in_order(requests, on_progress, &mut |generation| {
            all.push(generation)
        })?;
        Ok(all)
    }

    /// The same, handing each result to `take` in the requests' order as soon as it and all before it are
    /// finished, so that what is finished when `on_progress` cancels is not lost.
    ///
    /// # Errors
    /// As [`Generator::generate`].
    pub fn generate_in_order(
        &self,
        requests: &[GenerateRequest],
        on_progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
        take: &mut dyn FnMut(Generation),
    ) -> Result<(), InferenceError> {
        self.check(requests)?;
        let mut finished: Vec<Option<Generation>> = requests
            .iter()
            .map(|each| self.immediate_result(each))
            .collect();
        let progress = Progress {
            rows: finished.iter().flatten().count(),
            ..Progress::default()
        };
        let indexed = requests.iter().enumerate();
        let sequences = indexed
            .filter(|(index, _)| finished[*index].is_none())
            .map(|(index, request)| SequenceRequest {
                index,
                prompt: &request.prompt,
                max_new_tokens: self.limit(request),
            })
            .collect();
        let mut taken = 0;
        let mut emit_finished = |finished: &mut [Option<Generation>]| {
            while let Some(generation) = finished.get_mut(taken).and_then(Option::take) {
                take(generation);
                taken += 1;
            }
        };
        emit_finished(&mut finished);
        let mut sampled: Vec<Vec<u32>> = vec![Vec::new(); requests.len()];
        let named = |index: usize| format!("sample {}", requests[index].id);
        let mut next_tokens = |computed: SequenceOutputs<'_>| {
            let chosen = self.sample_tokens(requests, &sampled, &computed);
            let mut next = Vec::with_capacity(chosen.len());
            for (index, token) in computed.indices.iter().zip(chosen) {
                let token = token.ok_or_else(|| InferenceError::NotFinite {
                    layer: self.engine.config().num_hidden_layers,
                    row: named(*index),
                })?;
                finished[*index] =
                    self.append_token(&requests[*index], &mut sampled[*index], token)?;
                next.push(Some(token).filter(|_| finished[*index].is_none()));
            }
            emit_finished(&mut finished);
            Ok(next)
        };
        let (engine, limits) = (self.engine, &self.limits);
        schedule(
            engine,
            limits,
            sequences,
            progress,
            &named,
            on_progress,
            &mut next_tokens,
        )
    }

    /// Returns the result of a request that needs no model, or cannot have one.
    fn immediate_result(&self, request: &GenerateRequest) -> Option<Generation> {
        let finish = match self.limit(request) {
            0 if request.max_new_tokens > 0 => Finish::PromptTooLong,
            0 => Finish::Length,
            _ => return None,
        };
        Some(Generation {
            id: request.id,
            tokens: Vec::new(),
            text: String::new(),
            finish,
        })
    }

    /// Returns the most tokens that can be sampled for a request.
    fn limit(&self, request: &GenerateRequest) -> usize {
        let context = self.engine.config().max_position_embeddings;
        let room = context.saturating_sub(request.prompt.len());
        request.max_new_tokens.min(room)
    }

    fn check(&self, requests: &[GenerateRequest]) -> Result<(), InferenceError> {
        let vocabulary = self.engine.config().vocab_size;
        for request in requests {
            let refuse = |reason: String| {
                Err(InferenceError::Request {
                    row: format!("sample {}", request.id),
                    reason,
                })
            };
            if request.prompt.is_empty() {
                return refuse("the prompt is empty".into());
            }
            if let Some(token) = request
                .prompt
                .iter()
                .find(|token| **token as usize >= vocabulary)
            {
                return refuse(format!(
                    "token {token} lies beyond the vocabulary of {vocabulary}"
                ));
            }
        }
        Ok(())
    }

    /// Samples the next token of each sequence; `None` if the model's values are not finite.
    fn sample_tokens(
        &self,
        requests: &[GenerateRequest],
        sampled: &[Vec<u32>],
        computed: &SequenceOutputs<'_>,
    ) -> Vec<Option<u32>> {
        let width = self.engine.head_width();
        let outputs = computed.outputs.par_chunks_exact(computed.stride);
        let sample = |(index, logits): (&usize, &[f32])| {
            let request = &requests[*index];
            let uniform = self.rng.uniform(request.id, sampled[*index].len() as u64);
            sample_token(&logits[..width], &request.sampling, uniform)
        };
        computed
            .indices
            .par_iter()
            .zip(outputs)
            .map(sample)
            .collect()
    }

    /// Appends a token to those sampled for a request; returns the result if that ends it.
    fn append_token(
        &self,
        request: &GenerateRequest,
        sampled: &mut Vec<u32>,
        token: u32,
    ) -> Result<Option<Generation>, InferenceError> {
        let end = |tokens: &mut Vec<u32>, text: String, finish: Finish| {
            Ok(Some(Generation {
                id: request.id,
                tokens: std::mem::take(tokens),
                text,
                finish,
            }))
        };
        if request.stop_tokens.contains(&token) {
            let text = self.tokenizer.decode(sampled)?;
            return end(sampled, text, Finish::Stop);
        }
        sampled.push(token);
        if self.may_have_stopped(request, sampled)? {
            let text = self.tokenizer.decode(sampled)?;
            if let Some(cut) = request
                .stop_strings
                .iter()
                .filter_map(|stop| text.find(stop.as_str()))
                .min()
            {
                return end(sampled, text[..cut].to_owned(), Finish::Stop);
            }
        }
        if sampled.len() == self.limit(request) {
            let text = self.tokenizer.decode(sampled)?;
            return end(sampled, text, Finish::Length);
        }
        Ok(None)
    }

    /// Whether the latest tokens hold a stop string. A token is at least one byte, so those that a stop
    /// string can span are few; one more character may be cut at the front.
    fn may_have_stopped(
        &self,
        request: &GenerateRequest,
        sampled: &[u32],
    ) -> Result<bool, InferenceError> {
        let stops = || request.stop_strings.iter().filter(|stop| !stop.is_empty());
        let Some(longest) = stops().map(String::len).max() else {
            return Ok(false);
        };
        let window = sampled.len().saturating_sub(longest + 4);
        let text = self.tokenizer.decode(&sampled[window..])?;
        Ok(stops().any(|stop| text.contains(stop.as_str())))
    }
}
