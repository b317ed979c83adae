//! Continuous batching: one scheduler for generating, judging and scoring. Sequences enter when there is room and leave when they are
//! finished; a common prefix is computed once; a step mixes decoding rows with chunks of prompts (prefill). The schedule changes speed and
//! memory, never a result.

use std::ops::ControlFlow;

use super::prefix_cache::{PrefixCache, gains_by_waiting};
use super::step::{ScheduledSequence, run_step};
use super::{Engine, InferenceError, KeyValueCache, Progress};
use crate::ops::cpu::BLOCK_TOKENS;

/// Limits of the batches of one call. They change speed and memory, never a result.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Rows in flight.
    pub rows: usize,
    /// Tokens computed in one step: one for each decoding row, and what is left for prefill.
    pub step_tokens: usize,
    /// Bytes that the KV caches of all rows in flight may grow to, unless one row alone needs more.
    pub cache_bytes: u64,
}

impl BatchLimits {
    /// Returns the limits for rows that are decoded token by token.
    pub fn generating() -> Self {
        Self {
            rows: 32,
            step_tokens: 512,
            cache_bytes: 2 << 30,
        }
    }

    /// Returns the limits for rows that are only prefilled: as many as a step can hold, and longer steps.
    pub fn scoring() -> Self {
        Self {
            rows: usize::MAX,
            step_tokens: 1024,
            cache_bytes: 2 << 30,
        }
    }
}

/// A sequence to compute.
pub(super) struct SequenceRequest<'r> {
    /// The caller's index of it.
    pub(super) index: usize,
    /// Its tokens; at least one.
    pub(super) prompt: &'r [u32],
    /// The most tokens that may follow; 0 if its last one is scored.
    pub(super) max_new_tokens: usize,
}

/// What a step gives for the sequences whose tokens are all computed.
pub(super) struct SequenceOutputs<'s> {
    /// Their indices.
    pub(super) indices: &'s [usize],
    /// The head's output at each one's last token, `stride` apart.
    pub(super) outputs: &'s [f32],
    /// The distance between outputs.
    pub(super) stride: usize,
}

/// A sequence in flight.
struct RunningSequence<'r> {
    request: SequenceRequest<'r>,
    cache: KeyValueCache,
    /// Tokens of the prompt that were not in the prefix cache.
    uncached: usize,
    /// What the next steps compute: the rest of the prompt, then the latest token.
    pending: Vec<u32>,
    /// Whether the prompt is not yet computed.
    is_prefilling: bool,
}

/// Called before every step with the progress of the call; it may cancel.
pub(super) type OnProgress<'w> = &'w mut dyn FnMut(Progress) -> ControlFlow<()>;

/// The next token of each sequence; `None` if it is finished.
pub(super) type NextTokens = Result<Vec<Option<u32>>, InferenceError>;

/// Computes `requests`, which enter in order. `next_tokens` returns how each sequence continues whose tokens are all computed. `progress`
/// counts what is done already. `named` returns the name of an index for errors.
///
/// # Errors
/// As [`Engine::last_hidden`]; what `next_tokens` returns; or `on_progress` cancelled.
pub(super) fn schedule(
    engine: &Engine,
    limits: &BatchLimits,
    requests: Vec<SequenceRequest<'_>>,
    mut progress: Progress,
    named: &dyn Fn(usize) -> String,
    on_progress: OnProgress<'_>,
    next_tokens: &mut dyn FnMut(SequenceOutputs<'_>) -> NextTokens,
) -> Result<(), InferenceError> {
    let mut waiting = requests.into_iter().peekable();
    let mut running: Vec<RunningSequence<'_>> = Vec::new();
    let mut prefix_cache = PrefixCache::default();
    loop {
        let flow = on_progress(progress);
        if running.is_empty() && waiting.peek().is_none() {
            // Everything is done, so there is nothing to cancel.
            return Ok(());
        }
        if flow.is_break() {
            return Err(InferenceError::Cancelled);
        }
        let before = running.len();
        admit(engine, limits, &mut waiting, &mut running, &prefix_cache);
        let admitted = running[before..].iter().map(|row| row.request.prompt.len());
        progress.prompt_tokens += admitted.sum::<usize>() as u64;

        let indices: Vec<usize> = running.iter().map(|row| row.request.index).collect();
        let mut sequences: Vec<ScheduledSequence<'_>> = running
            .iter_mut()
            .map(|row| ScheduledSequence {
                pending: &row.pending,
                cache: &mut row.cache,
            })
            .collect();
        let step = run_step(engine, limits.step_tokens, &mut sequences)
            .map_err(|error| error.with_rows(|row| named(indices[row])))?;
        for (row, taken) in running.iter_mut().zip(&step.taken) {
            row.pending.drain(..taken);
        }
        if step.complete.is_empty() {
            continue;
        }
        let (outputs, stride) = engine.head(&step.hidden);
        let complete: Vec<usize> = step.complete.iter().map(|row| indices[*row]).collect();
        let tokens = next_tokens(SequenceOutputs {
            indices: &complete,
            outputs: &outputs,
            stride,
        })?;
        for (row, token) in step.complete.into_iter().zip(tokens) {
            let row = &mut running[row];
            if std::mem::take(&mut row.is_prefilling) && row.uncached > 1 {
                prefix_cache.insert(row.request.prompt, &row.cache);
            }
            row.pending.extend(token);
            progress.new_tokens += u64::from(row.request.max_new_tokens > 0);
            progress.rows += usize::from(token.is_none());
        }
        running.retain(|row| !row.pending.is_empty());
    }
}

/// Admits waiting sequences, in order, while rows, step and KV cache have room and none gains by waiting for a prefix; at least one if
/// nothing is running.
fn admit<'r>(
    engine: &Engine,
    limits: &BatchLimits,
    waiting: &mut std::iter::Peekable<impl Iterator<Item = SequenceRequest<'r>>>,
    running: &mut Vec<RunningSequence<'r>>,
    prefix_cache: &PrefixCache,
) {
    let cache_tokens = limits.cache_bytes / engine.cache_bytes_per_token().max(1);
    let most =
        |request: &SequenceRequest<'_>| whole_blocks(request.prompt.len() + request.max_new_tokens);
    let mut reserved: u64 = running.iter().map(|row| most(&row.request)).sum();
    let mut pending: usize = running.iter().map(|row| row.pending.len()).sum();
    while let Some(request) = waiting.peek() {
        let cache = prefix_cache.lookup(engine, request.prompt);
        let has_room = running.len() < limits.rows.max(1)
            && pending < limits.step_tokens.max(running.len() + 1)
            && reserved + most(request) <= cache_tokens;
        let waits = running
            .iter()
            .filter(|other| other.is_prefilling)
            .any(|other| gains_by_waiting(other.request.prompt, request.prompt, cache.len()));
        if !running.is_empty() && (!has_room || waits) {
            return;
        }
        let Some(request) = waiting.next() else {
            return;
        };
        let rest = request.prompt[cache.len()..].to_vec();
        pending += rest.len();
        reserved += most(&request);
        running.push(RunningSequence {
            uncached: rest.len(),
            cache,
            pending: rest,
            is_prefilling: true,
            request,
        });
    }
}

/// Returns the number of tokens rounded up to whole blocks of the KV cache.
fn whole_blocks(tokens: usize) -> u64 {
    tokens.next_multiple_of(BLOCK_TOKENS) as u64
}
