//! Generates text for many requests at once: rows enter when there is room and leave when they are finished,
//! prompts that begin alike are computed once, and each row's tokens depend on its own request alone.

use std::ops::ControlFlow;

use rayon::prelude::*;

use super::feed::{Feed, feed};
use super::remembered::{Remembered, better_after};
use super::{
    Draw, Engine, Finish, GenerateRequest, Generation, GeneratorOptions, InferenceError,
    KeyValueCache, Progress, choose,
};
use crate::model::Tokenizer;
use crate::ops::cpu::BLOCK_TOKENS;

/// The tokens for which so many have room, as blocks of keys and values give it.
fn blocks_of(tokens: usize) -> u64 {
    tokens.next_multiple_of(BLOCK_TOKENS) as u64
}

/// Generates with one model.
pub struct Generator<'a> {
    engine: &'a Engine,
    tokenizer: &'a Tokenizer,
    draw: Draw,
    options: GeneratorOptions,
}

struct Row<'r> {
    index: usize,
    request: &'r GenerateRequest,
    cache: KeyValueCache,
    /// Tokens of the prompt that no earlier row had computed.
    own: usize,
    /// Fed in the next steps: what of the prompt is not in the cache yet, then the latest token.
    next: Vec<u32>,
    tokens: Vec<u32>,
    limit: usize,
}

impl<'a> Generator<'a> {
    /// A generator whose random draws are `draw`'s.
    pub fn new(
        engine: &'a Engine,
        tokenizer: &'a Tokenizer,
        draw: Draw,
        options: GeneratorOptions,
    ) -> Self {
        Self {
            engine,
            tokenizer,
            draw,
            options,
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
        let mut taken = 0;
        let mut finished: Vec<Option<Generation>> = vec![None; requests.len()];
        let mut waiting = requests.iter().enumerate().peekable();
        let mut rows: Vec<Row<'_>> = Vec::new();
        let mut remembered = Remembered::default();
        let mut progress = Progress::default();
        loop {
            while let Some(generation) = finished.get_mut(taken).and_then(Option::take) {
                take(generation);
                taken += 1;
            }
            let flow = watch(progress);
            if rows.is_empty() && waiting.peek().is_none() {
                break;
            }
            if flow.is_break() {
                return Err(InferenceError::Cancelled);
            }
            self.admit(
                &mut waiting,
                &mut rows,
                &remembered,
                &mut finished,
                &mut progress,
            );
            if rows.is_empty() {
                continue;
            }
            let chosen = self.step(&mut rows)?;
            let mut going = Vec::with_capacity(rows.len());
            for (mut row, token) in rows.into_iter().zip(chosen) {
                let Some(token) = token else {
                    going.push(row);
                    continue;
                };
                progress.new_tokens += 1;
                if row.tokens.is_empty() && row.own > 1 {
                    remembered.keep(&row.request.prompt, &row.cache);
                }
                match self.extend(&mut row, token)? {
                    Some(generation) => {
                        progress.rows += 1;
                        finished[row.index] = Some(generation);
                    }
                    None => going.push(row),
                }
            }
            rows = going;
        }
        Ok(())
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

    /// Lets waiting requests in, in order, while rows, step and cache have room.
    fn admit<'r>(
        &self,
        waiting: &mut std::iter::Peekable<impl Iterator<Item = (usize, &'r GenerateRequest)>>,
        rows: &mut Vec<Row<'r>>,
        remembered: &Remembered,
        finished: &mut [Option<Generation>],
        progress: &mut Progress,
    ) {
        let context = self.engine.config().max_position_embeddings;
        let cache_tokens = self.options.cache_bytes / self.engine.cache_bytes_per_token().max(1);
        let most = |row: &Row<'_>| blocks_of(row.request.prompt.len() + row.limit);
        let mut reserved: u64 = rows.iter().map(most).sum();
        let mut fed: usize = rows.iter().map(|row| row.next.len()).sum();
        while let Some((index, request)) = waiting.peek().copied() {
            let room = context.saturating_sub(request.prompt.len());
            if room == 0 || request.max_new_tokens == 0 {
                let finish = if room == 0 {
                    Finish::PromptTooLong
                } else {
                    Finish::Length
                };
                finished[index] = Some(Generation {
                    id: request.id,
                    tokens: Vec::new(),
                    text: String::new(),
                    finish,
                });
                progress.rows += 1;
                waiting.next();
                continue;
            }
            let cache = remembered.begin(self.engine, &request.prompt);
            let next = request.prompt[cache.len()..].to_vec();
            let row = Row {
                index,
                request,
                cache,
                own: next.len(),
                next,
                tokens: Vec::new(),
                limit: request.max_new_tokens.min(room),
            };
            let is_first = rows.is_empty();
            let has_room = rows.len() < self.options.rows.max(1)
                && fed < self.options.step_tokens.max(rows.len() + 1)
                && reserved + most(&row) <= cache_tokens;
            let waits = rows
                .iter()
                .filter(|other| other.tokens.is_empty())
                .any(|other| better_after(&other.request.prompt, &request.prompt, row.cache.len()));
            if !is_first && (!has_room || waits) {
                return;
            }
            fed += row.next.len();
            reserved += most(&row);
            progress.prompt_tokens += request.prompt.len() as u64;
            rows.push(row);
            waiting.next();
        }
    }

    /// Feeds rows what comes next, and chooses a token for each that has nothing left to feed.
    fn step(&self, rows: &mut [Row<'_>]) -> Result<Vec<Option<u32>>, InferenceError> {
        let ids: Vec<u64> = rows.iter().map(|row| row.request.id).collect();
        let named = |place: usize| format!("sample {}", ids[place]);
        let mut feeds: Vec<Feed<'_>> = rows
            .iter_mut()
            .map(|row| Feed {
                rest: &row.next,
                cache: &mut row.cache,
            })
            .collect();
        let fed = feed(self.engine, self.options.step_tokens, &mut feeds)
            .map_err(|error| error.with_rows(named))?;
        for (row, taken) in rows.iter_mut().zip(&fed.taken) {
            row.next.drain(..taken);
        }
        let mut chosen = vec![None; rows.len()];
        if fed.complete.is_empty() {
            return Ok(chosen);
        }
        let (logits, stride) = self.engine.head(&fed.hidden);
        let width = self.engine.head_width();
        let tokens: Vec<Option<u32>> = fed
            .complete
            .par_iter()
            .zip(logits.par_chunks_exact(stride))
            .map(|(place, logits)| {
                let row = &rows[*place];
                let uniform = self.draw.uniform(row.request.id, row.tokens.len() as u64);
                choose(&logits[..width], &row.request.sampling, uniform)
            })
            .collect();
        for (place, token) in fed.complete.into_iter().zip(tokens) {
            if token.is_none() {
                return Err(InferenceError::NotFinite {
                    layer: self.engine.config().num_hidden_layers,
                    row: named(place),
                });
            }
            chosen[place] = token;
        }
        Ok(chosen)
    }

    /// Appends a token to a row; its result, where that ends it.
    fn extend(&self, row: &mut Row<'_>, token: u32) -> Result<Option<Generation>, InferenceError> {
        let request = row.request;
        let end = |tokens: &mut Vec<u32>, text: String, finish: Finish| {
            Ok(Some(Generation {
                id: request.id,
                tokens: std::mem::take(tokens),
                text,
                finish,
            }))
        };
        if request.stop_tokens.contains(&token) {
            let text = self.tokenizer.decode(&row.tokens)?;
            return end(&mut row.tokens, text, Finish::Stop);
        }
        row.tokens.push(token);
        if self.may_have_stopped(row)? {
            let text = self.tokenizer.decode(&row.tokens)?;
            if let Some(cut) = request
                .stop_strings
                .iter()
                .filter_map(|stop| text.find(stop.as_str()))
                .min()
            {
                return end(&mut row.tokens, text[..cut].to_owned(), Finish::Stop);
            }
        }
        if row.tokens.len() == row.limit {
            let text = self.tokenizer.decode(&row.tokens)?;
            return end(&mut row.tokens, text, Finish::Length);
        }
        row.next.push(token);
        Ok(None)
    }

    /// Whether the latest tokens hold a stop string. A token is at least one byte, so those that a stop
    /// string can span are few; one more character may be cut at the front.
    fn may_have_stopped(&self, row: &Row<'_>) -> Result<bool, InferenceError> {
        let Some(longest) = row
            .request
            .stop_strings
            .iter()
            .map(String::len)
            .max()
            .filter(|longest| *longest > 0)
        else {
            return Ok(false);
        };
        let window = row.tokens.len().saturating_sub(longest + 4);
        let text = self.tokenizer.decode(&row.tokens[window..])?;
        Ok(row
            .request
            .stop_strings
            .iter()
            .any(|stop| !stop.is_empty() && text.contains(stop.as_str())))
    }
}
