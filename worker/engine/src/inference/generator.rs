//! Generates text for many requests at once. Each row's tokens depend on its own request alone.

use std::ops::ControlFlow;

use rayon::prelude::*;

use super::schedule::{Bounds, Computed, Work, schedule};
use super::{Draw, Engine, Finish, GenerateRequest, Generation, InferenceError, Progress, choose};
use crate::model::Tokenizer;

/// Generates with one model.
pub struct Generator<'a> {
    engine: &'a Engine,
    tokenizer: &'a Tokenizer,
    draw: Draw,
    bounds: Bounds,
}

impl<'a> Generator<'a> {
    /// A generator whose random draws are `draw`'s.
    pub fn new(engine: &'a Engine, tokenizer: &'a Tokenizer, draw: Draw, bounds: Bounds) -> Self {
        Self {
            engine,
            tokenizer,
            draw,
            bounds,
        }
    }

    /// Generates every request; results are in the requests' order. `watch` is called before every step
    /// and may break off.
    ///
    /// # Errors
    /// A request is impossible (an empty prompt, a token beyond the vocabulary), the model gives values that
    /// are not finite (naming layer and sample), or `watch` broke off.
    pub fn generate(
        &self,
        requests: &[GenerateRequest],
        watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Vec<Generation>, InferenceError> {
        let mut all = Vec::with_capacity(requests.len());
        self.generate_in_order(requests, watch, &mut |generation| all.push(generation))?;
        Ok(all)
    }

    /// The same, handing each result to `take` in the requests' order as soon as it and all before it are
    /// finished, so that what is finished when `watch` breaks off is not lost.
    ///
    /// # Errors
    /// As [`Generator::generate`].
    pub fn generate_in_order(
        &self,
        requests: &[GenerateRequest],
        watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
        take: &mut dyn FnMut(Generation),
    ) -> Result<(), InferenceError> {
        self.check(requests)?;
        let mut finished: Vec<Option<Generation>> =
            requests.iter().map(|each| self.at_once(each)).collect();
        let progress = Progress {
            rows: finished.iter().flatten().count(),
            ..Progress::default()
        };
        let begun = requests.iter().enumerate();
        let works = begun
            .filter(|(place, _)| finished[*place].is_none())
            .map(|(place, request)| Work {
                place,
                prompt: &request.prompt,
                more: self.limit(request),
            })
            .collect();
        let mut taken = 0;
        let mut hand_on = |finished: &mut [Option<Generation>]| {
            while let Some(generation) = finished.get_mut(taken).and_then(Option::take) {
                take(generation);
                taken += 1;
            }
        };
        hand_on(&mut finished);
        let mut drawn: Vec<Vec<u32>> = vec![Vec::new(); requests.len()];
        let named = |place: usize| format!("sample {}", requests[place].id);
        let mut go_on = |computed: Computed<'_>| {
            let chosen = self.choose(requests, &drawn, &computed);
            let mut next = Vec::with_capacity(chosen.len());
            for (place, token) in computed.places.iter().zip(chosen) {
                let token = token.ok_or_else(|| InferenceError::NotFinite {
                    layer: self.engine.config().num_hidden_layers,
                    row: named(*place),
                })?;
                finished[*place] = self.extend(&requests[*place], &mut drawn[*place], token)?;
                next.push(Some(token).filter(|_| finished[*place].is_none()));
            }
            hand_on(&mut finished);
            Ok(next)
        };
        let (engine, bounds) = (self.engine, &self.bounds);
        schedule(engine, bounds, works, progress, &named, watch, &mut go_on)
    }

    /// What came of a request that needs no model, or cannot have one.
    fn at_once(&self, request: &GenerateRequest) -> Option<Generation> {
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

    /// The most tokens that can be drawn for a request.
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

    /// The next token of each sequence; none where the model's values are not finite.
    fn choose(
        &self,
        requests: &[GenerateRequest],
        drawn: &[Vec<u32>],
        computed: &Computed<'_>,
    ) -> Vec<Option<u32>> {
        let width = self.engine.head_width();
        let outputs = computed.outputs.par_chunks_exact(computed.stride);
        let choose = |(place, logits): (&usize, &[f32])| {
            let request = &requests[*place];
            let uniform = self.draw.uniform(request.id, drawn[*place].len() as u64);
            choose(&logits[..width], &request.sampling, uniform)
        };
        computed
            .places
            .par_iter()
            .zip(outputs)
            .map(choose)
            .collect()
    }

    /// Appends a token to those drawn for a request; the result, where that ends it.
    fn extend(
        &self,
        request: &GenerateRequest,
        drawn: &mut Vec<u32>,
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
            let text = self.tokenizer.decode(drawn)?;
            return end(drawn, text, Finish::Stop);
        }
        drawn.push(token);
        if self.may_have_stopped(request, drawn)? {
            let text = self.tokenizer.decode(drawn)?;
            if let Some(cut) = request
                .stop_strings
                .iter()
                .filter_map(|stop| text.find(stop.as_str()))
                .min()
            {
                return end(drawn, text[..cut].to_owned(), Finish::Stop);
            }
        }
        if drawn.len() == self.limit(request) {
            let text = self.tokenizer.decode(drawn)?;
            return end(drawn, text, Finish::Length);
        }
        Ok(None)
    }

    /// Whether the latest tokens hold a stop string. A token is at least one byte, so those that a stop
    /// string can span are few; one more character may be cut at the front.
    fn may_have_stopped(
        &self,
        request: &GenerateRequest,
        drawn: &[u32],
    ) -> Result<bool, InferenceError> {
        let stops = || request.stop_strings.iter().filter(|stop| !stop.is_empty());
        let Some(longest) = stops().map(String::len).max() else {
            return Ok(false);
        };
        let window = drawn.len().saturating_sub(longest + 4);
        let text = self.tokenizer.decode(&drawn[window..])?;
        Ok(stops().any(|stop| text.contains(stop.as_str())))
    }
}
