//! Which sequences are computed when: one scheduler for generating, judging and scoring. Sequences enter when there is room and leave when they are
//! finished, those that begin alike are computed once, and nobody waits for a batch to be full. What it decides changes speed and memory, never a
//! result.

use std::ops::ControlFlow;

use super::feed::{Feed, feed};
use super::remembered::{Remembered, better_after};
use super::{Engine, InferenceError, KeyValueCache, Progress};
use crate::ops::cpu::BLOCK_TOKENS;

/// Bounds of one call. They change speed and memory, never a result.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Rows in flight.
    pub rows: usize,
    /// Tokens computed in one step: one for each row that generates, and of prompts what is left.
    pub step_tokens: usize,
    /// Bytes of keys and values that rows in flight may grow to, unless one row alone needs more.
    pub cache_bytes: u64,
}

impl Bounds {
    /// For rows that are gone on with token by token.
    pub fn generating() -> Self {
        Self {
            rows: 32,
            step_tokens: 512,
            cache_bytes: 2 << 30,
        }
    }

    /// For rows that are over with their last token: as many as a step can hold, and longer steps.
    pub fn scoring() -> Self {
        Self {
            rows: usize::MAX,
            step_tokens: 1024,
            cache_bytes: 2 << 30,
        }
    }
}

/// A sequence to compute.
pub(super) struct Work<'r> {
    /// By which the caller knows it.
    pub(super) place: usize,
    /// Its tokens; at least one.
    pub(super) prompt: &'r [u32],
    /// The most tokens that may follow; none, where its last one is scored.
    pub(super) more: usize,
}

/// What a step gives for the sequences whose tokens are all computed.
pub(super) struct Computed<'s> {
    /// Their places.
    pub(super) places: &'s [usize],
    /// The head's output at each one's last token, `stride` apart.
    pub(super) outputs: &'s [f32],
    /// The distance between outputs.
    pub(super) stride: usize,
}

/// A sequence in flight.
struct Row<'r> {
    work: Work<'r>,
    cache: KeyValueCache,
    /// Tokens of the prompt that no earlier row had computed.
    own: usize,
    /// Fed in the next steps: what of the prompt is not in the cache yet, then the latest token.
    next: Vec<u32>,
    /// Whether the prompt is not yet computed.
    is_new: bool,
}

/// What is called before every step, with how far the call is, and may break it off.
pub(super) type Watch<'w> = &'w mut dyn FnMut(Progress) -> ControlFlow<()>;

/// With which token each of what was computed goes on; with none, where it is finished.
pub(super) type Next = Result<Vec<Option<u32>>, InferenceError>;

/// Computes `works`, which enter in order. `go_on` says how each sequence goes on whose tokens are all computed. `progress`: what is done already. `named` calls a place by its name in errors.
///
/// # Errors
/// As [`Engine::last_hidden`]; what `go_on` returns; or `watch` broke off.
pub(super) fn schedule(
    engine: &Engine,
    bounds: &Bounds,
    works: Vec<Work<'_>>,
    mut progress: Progress,
    named: &dyn Fn(usize) -> String,
    watch: Watch<'_>,
    go_on: &mut dyn FnMut(Computed<'_>) -> Next,
) -> Result<(), InferenceError> {
    let mut waiting = works.into_iter().peekable();
    let mut rows: Vec<Row<'_>> = Vec::new();
    let mut remembered = Remembered::default();
    loop {
        let flow = watch(progress);
        if rows.is_empty() && waiting.peek().is_none() {
            // Everything is done: whether to break off is no longer a question.
            return Ok(());
        }
        if flow.is_break() {
            return Err(InferenceError::Cancelled);
        }
        let before = rows.len();
        admit(engine, bounds, &mut waiting, &mut rows, &remembered);
        let begun = rows[before..].iter().map(|row| row.work.prompt.len());
        progress.prompt_tokens += begun.sum::<usize>() as u64;

        let places: Vec<usize> = rows.iter().map(|row| row.work.place).collect();
        let mut feeds: Vec<Feed<'_>> = rows
            .iter_mut()
            .map(|row| Feed {
                rest: &row.next,
                cache: &mut row.cache,
            })
            .collect();
        let fed = feed(engine, bounds.step_tokens, &mut feeds)
            .map_err(|error| error.with_rows(|row| named(places[row])))?;
        for (row, taken) in rows.iter_mut().zip(&fed.taken) {
            row.next.drain(..taken);
        }
        if fed.complete.is_empty() {
            continue;
        }
        let (outputs, stride) = engine.head(&fed.hidden);
        let complete: Vec<usize> = fed.complete.iter().map(|row| places[*row]).collect();
        let tokens = go_on(Computed {
            places: &complete,
            outputs: &outputs,
            stride,
        })?;
        for (row, token) in fed.complete.into_iter().zip(tokens) {
            let row = &mut rows[row];
            if std::mem::take(&mut row.is_new) && row.own > 1 {
                remembered.keep(row.work.prompt, &row.cache);
            }
            row.next.extend(token);
            progress.new_tokens += u64::from(row.work.more > 0);
            progress.rows += usize::from(token.is_none());
        }
        rows.retain(|row| !row.next.is_empty());
    }
}

/// Lets waiting sequences in, in order, while rows, step and cache have room and none gains by waiting; one where there is none.
fn admit<'r>(
    engine: &Engine,
    bounds: &Bounds,
    waiting: &mut std::iter::Peekable<impl Iterator<Item = Work<'r>>>,
    rows: &mut Vec<Row<'r>>,
    remembered: &Remembered,
) {
    let cache_tokens = bounds.cache_bytes / engine.cache_bytes_per_token().max(1);
    let most = |work: &Work<'_>| blocks_of(work.prompt.len() + work.more);
    let mut reserved: u64 = rows.iter().map(|row| most(&row.work)).sum();
    let mut fed: usize = rows.iter().map(|row| row.next.len()).sum();
    while let Some(work) = waiting.peek() {
        let cache = remembered.begin(engine, work.prompt);
        let has_room = rows.len() < bounds.rows.max(1)
            && fed < bounds.step_tokens.max(rows.len() + 1)
            && reserved + most(work) <= cache_tokens;
        let waits = rows
            .iter()
            .filter(|other| other.is_new)
            .any(|other| better_after(other.work.prompt, work.prompt, cache.len()));
        if !rows.is_empty() && (!has_room || waits) {
            return;
        }
        let Some(work) = waiting.next() else { return };
        let next = work.prompt[cache.len()..].to_vec();
        fed += next.len();
        reserved += most(&work);
        rows.push(Row {
            own: next.len(),
            cache,
            next,
            is_new: true,
            work,
        });
    }
}

/// The tokens for which so many have room, as blocks of keys and values give it.
fn blocks_of(tokens: usize) -> u64 {
    tokens.next_multiple_of(BLOCK_TOKENS) as u64
}
