//! The cases that are measured, the same for every engine that is compared.

use std::ops::ControlFlow;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Bench;
use crate::inference::{
    BatchLimits, Engine, InferenceError, KeyValueCache, Sampling, Scorer, Segment, sample_token,
};
use crate::ops::cpu::BLOCK_TOKENS;

/// What to measure. Prompts are arbitrary tokens; decoding is greedy, so that sampling takes no part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "case", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Case {
    /// Prompts computed together, each its own.
    Prefill {
        /// Prompts.
        rows: usize,
        /// Tokens of each.
        prompt: usize,
    },
    /// New tokens after such prompts, which are not counted.
    Decode {
        /// Rows in the batch.
        rows: usize,
        /// Tokens of each prompt.
        prompt: usize,
        /// New tokens of each row.
        tokens: usize,
    },
    /// Several continuations of one prompt, from the prompt on.
    Samples {
        /// Continuations.
        rows: usize,
        /// Tokens of the prompt.
        prompt: usize,
        /// New tokens of each.
        tokens: usize,
        /// Whether the prompt is computed once, or for each.
        shared: bool,
    },
    /// The head's output at the last token of sequences of these lengths.
    Scoring {
        /// Tokens of each sequence.
        lengths: Vec<usize>,
    },
    /// Choosing one token by temperature and top-p, from this model's own logits.
    Sampler {
        /// Times.
        rows: usize,
    },
}

/// What a case took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Tokens computed, sampled or scored, as the case says.
    pub tokens: usize,
    /// Seconds.
    pub seconds: f64,
}

impl Bench {
    /// Measures one case once.
    ///
    /// # Errors
    /// The model gives values that are not finite, or its context is too short.
    pub fn run(&self, case: &Case) -> Result<Measurement, InferenceError> {
        let engine = &self.engine;
        match case {
            Case::Prefill { rows, prompt } => {
                let prompts = self.prompts(*rows, *prompt);
                let mut caches = caches(engine, *rows);
                timed(rows * prompt, || {
                    step(engine, &prompts, &mut caches).map(drop)
                })
            }
            Case::Decode {
                rows,
                prompt,
                tokens,
            } => {
                let mut caches = caches(engine, *rows);
                let next = step(engine, &self.prompts(*rows, *prompt), &mut caches)?;
                timed(rows * tokens, || decode(engine, next, &mut caches, *tokens))
            }
            Case::Samples {
                rows,
                prompt,
                tokens,
                shared,
            } => {
                let prompt = &self.prompts(1, *prompt)[0];
                timed(rows * tokens, || {
                    let computed = if *shared { 1 } else { *rows };
                    let mut caches = caches(engine, computed);
                    let prompts = vec![prompt.clone(); computed];
                    let mut next = step(engine, &prompts, &mut caches)?;
                    while caches.len() < *rows {
                        caches.push(caches[0].fork(prompt.len()));
                        next.push(next[0].clone());
                    }
                    decode(engine, next, &mut caches, tokens.saturating_sub(1))
                })
            }
            Case::Scoring { lengths } => {
                let sequences: Vec<Vec<u32>> = lengths
                    .iter()
                    .enumerate()
                    .map(|(row, length)| self.tokens(row, *length))
                    .collect();
                let scorer = Scorer::new(engine, BatchLimits::scoring());
                let mut callback = |_| ControlFlow::Continue(());
                timed(lengths.iter().sum(), || {
                    scorer.head_outputs(&sequences, &mut callback).map(drop)
                })
            }
            Case::Sampler { rows } => {
                let mut cache = engine.new_cache();
                let tokens = self.tokens(0, BLOCK_TOKENS);
                let hidden = engine.last_hidden(&mut [Segment {
                    tokens: &tokens,
                    cache: &mut cache,
                }])?;
                let (logits, _) = engine.head(&hidden);
                let logits = &logits[..engine.head_width()];
                timed(*rows, || {
                    for row in 0..*rows {
                        let uniform = row as f64 / *rows as f64;
                        std::hint::black_box(sample_token(
                            logits,
                            &Sampling::new(0.8, 0.9),
                            uniform,
                        ));
                    }
                    Ok(())
                })
            }
        }
    }

    fn prompts(&self, rows: usize, length: usize) -> Vec<Vec<u32>> {
        (0..rows).map(|row| self.tokens(row, length)).collect()
    }

    /// Tokens without meaning, other ones in each row.
    fn tokens(&self, row: usize, length: usize) -> Vec<u32> {
        let vocabulary = self.engine.config().vocab_size;
        (0..length)
            .map(|place| ((row * 7_919 + place * 104_729 + 11) % vocabulary) as u32)
            .collect()
    }
}

fn timed(
    tokens: usize,
    work: impl FnOnce() -> Result<(), InferenceError>,
) -> Result<Measurement, InferenceError> {
    let start = Instant::now();
    work()?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Measurement { tokens, seconds })
}

fn caches(engine: &Engine, rows: usize) -> Vec<KeyValueCache> {
    (0..rows).map(|_| engine.new_cache()).collect()
}

fn decode(
    engine: &Engine,
    mut next: Vec<Vec<u32>>,
    caches: &mut [KeyValueCache],
    tokens: usize,
) -> Result<(), InferenceError> {
    for _ in 0..tokens {
        next = step(engine, &next, caches)?;
    }
    Ok(())
}

/// Feeds every row its tokens; the likeliest next one of each.
fn step(
    engine: &Engine,
    tokens: &[Vec<u32>],
    caches: &mut [KeyValueCache],
) -> Result<Vec<Vec<u32>>, InferenceError> {
    let mut segments: Vec<Segment<'_>> = tokens
        .iter()
        .zip(caches)
        .map(|(tokens, cache)| Segment { tokens, cache })
        .collect();
    let hidden = engine.last_hidden(&mut segments)?;
    let (logits, stride) = engine.head(&hidden);
    let likeliest = |row: &[f32]| sample_token(&row[..engine.head_width()], &Sampling::GREEDY, 0.0);
    let not_finite = || InferenceError::NotFinite {
        layer: engine.config().num_hidden_layers,
        row: "a row of the benchmark".into(),
    };
    logits
        .chunks_exact(stride)
        .map(|row| Ok(vec![likeliest(row).ok_or_else(not_finite)?]))
        .collect()
}
