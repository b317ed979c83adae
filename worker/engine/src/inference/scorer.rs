//! Scores token sequences: by a scalar or class head, by asking a chat model for a yes, or by the
//! probability of their tokens. Sequences that begin alike are computed once, and a score depends on its own
//! sequence alone.

use std::collections::BTreeSet;

use super::schedule::{BatchLimits, OnProgress, SequenceOutputs, SequenceRequest, schedule};
use super::{Engine, InferenceError, Progress, Segment};
use crate::model::{Head, ModelError, Tokenizer};
use crate::ops::cpu::{exp_in_place, largest_finite, log_sum_exp, sum_of_exponentials};

/// Scores with one model.
pub struct Scorer<'a> {
    engine: &'a Engine,
    limits: BatchLimits,
}

impl<'a> Scorer<'a> {
    /// A scorer.
    pub fn new(engine: &'a Engine, limits: BatchLimits) -> Self {
        Self { engine, limits }
    }

    /// The value of a scalar head at the last token of every sequence: rewards, or difficulties.
    ///
    /// # Errors
    /// The model has no scalar head, a sequence is empty or too long, or the model gives a value that is not
    /// finite; or `on_progress`, called before every step, cancelled.
    pub fn scores(
        &self,
        sequences: &[Vec<u32>],
        on_progress: OnProgress<'_>,
    ) -> Result<Vec<f32>, InferenceError> {
        if !self.engine.config().head.is_scalar() {
            let reason = "it has no scalar head (`score.weight` with one label); ask it as a verifier instead";
            return Err(InferenceError::Request {
                row: "the model".into(),
                reason: reason.into(),
            });
        }
        let outputs = self.head_outputs(sequences, on_progress)?;
        Ok(outputs.into_iter().map(|row| row[0]).collect())
    }

    /// The head's output at the last token of every sequence: a number a label, or a logit a token.
    ///
    /// # Errors
    /// As [`Scorer::scores`].
    pub fn head_outputs(
        &self,
        sequences: &[Vec<u32>],
        on_progress: OnProgress<'_>,
    ) -> Result<Vec<Vec<f32>>, InferenceError> {
        let mut outputs = vec![Vec::new(); sequences.len()];
        self.each_last(sequences, on_progress, |index, row| {
            outputs[index] = row.to_vec()
        })?;
        Ok(outputs)
    }

    /// `P(yes) / (P(yes) + P(no))` for the token after every sequence: a chat model asked as a verifier.
    /// `yes` and `no` are the tokens that begin either answer, as [`first_tokens`] finds them.
    ///
    /// # Errors
    /// The model has no language model head, `yes` and `no` are empty or overlap; or as [`Scorer::scores`].
    pub fn yes_probabilities(
        &self,
        sequences: &[Vec<u32>],
        yes: &BTreeSet<u32>,
        no: &BTreeSet<u32>,
        on_progress: OnProgress<'_>,
    ) -> Result<Vec<f64>, InferenceError> {
        let refuse = |reason: &str| {
            Err(InferenceError::Request {
                row: "the verifier".into(),
                reason: reason.into(),
            })
        };
        if self.engine.config().head != Head::LanguageModel {
            return refuse("the model has no language model head; use its scalar head instead");
        }
        if yes.is_empty() || no.is_empty() || !yes.is_disjoint(no) {
            return refuse("yes and no must begin with different tokens");
        }
        let mut probabilities = vec![0.0; sequences.len()];
        self.each_last(sequences, on_progress, |index, logits| {
            let of = |tokens: &BTreeSet<u32>| -> Vec<f32> {
                tokens.iter().map(|token| logits[*token as usize]).collect()
            };
            let ((yes_largest, yes), (no_largest, no)) =
                (sum_of_exponentials(&of(yes)), sum_of_exponentials(&of(no)));
            // Only our own exponential enters a dataset: the platform's may differ in the last bits.
            let mut scale =
                [yes_largest - no_largest, no_largest - yes_largest].map(|x| x.min(0.0));
            exp_in_place(&mut scale);
            let (yes, no) = (yes * f64::from(scale[0]), no * f64::from(scale[1]));
            probabilities[index] = yes / (yes + no);
        })?;
        Ok(probabilities)
    }

    /// The log-probability of every sequence's tokens from place `from` on, given those before; `from` is at
    /// least 1.
    ///
    /// # Errors
    /// The model has no language model head, `from` is 0 or beyond the sequence; or as [`Scorer::scores`].
    pub fn log_probabilities(
        &self,
        sequences: &[(Vec<u32>, usize)],
        on_progress: OnProgress<'_>,
    ) -> Result<Vec<f64>, InferenceError> {
        let width = self.engine.head_width();
        let mut results = Vec::with_capacity(sequences.len());
        let mut progress = Progress::default();
        for (index, (tokens, from)) in sequences.iter().enumerate() {
            let refuse = |reason: &str| {
                Err(InferenceError::Request {
                    row: format!("row {index}"),
                    reason: reason.into(),
                })
            };
            if self.engine.config().head != Head::LanguageModel {
                return refuse("the model has no language model head");
            }
            if *from == 0 || *from >= tokens.len() {
                return refuse("no token with one before it to be scored");
            }
            if on_progress(progress).is_break() {
                return Err(InferenceError::Cancelled);
            }
            let mut cache = self.engine.new_cache();
            let inputs = &tokens[..tokens.len() - 1];
            let hidden = self.engine.all_hidden(&mut [Segment {
                tokens: inputs,
                cache: &mut cache,
            }])?;
            let hidden_size = self.engine.config().hidden_size;
            let mut total = 0.0;
            // A few rows of logits at a time: one is as long as the vocabulary.
            for (chunk, hidden) in hidden[(from - 1) * hidden_size..]
                .chunks(64 * hidden_size)
                .enumerate()
            {
                let (logits, stride) = self.engine.head(hidden);
                for (row, logits) in logits.chunks_exact(stride).enumerate() {
                    let target = tokens[from + 64 * chunk + row] as usize;
                    total += f64::from(logits[target]) - log_sum_exp(&logits[..width]);
                }
            }
            results.push(total);
            progress.rows += 1;
            progress.prompt_tokens += tokens.len() as u64;
        }
        Ok(results)
    }

    /// Calls `take` with each sequence's place and the head's output at its last token.
    fn each_last(
        &self,
        sequences: &[Vec<u32>],
        on_progress: OnProgress<'_>,
        mut take: impl FnMut(usize, &[f32]),
    ) -> Result<(), InferenceError> {
        let named = |index: usize| format!("row {index}");
        if let Some(index) = sequences.iter().position(Vec::is_empty) {
            return Err(InferenceError::Request {
                row: named(index),
                reason: "the sequence is empty".into(),
            });
        }
        let requests = sequences.iter().enumerate();
        let requests = requests
            .map(|(index, prompt)| SequenceRequest {
                index,
                prompt,
                max_new_tokens: 0,
            })
            .collect();
        let width = self.engine.head_width();
        let mut finish = |computed: SequenceOutputs<'_>| {
            let outputs = computed.outputs.chunks_exact(computed.stride);
            for (index, output) in computed.indices.iter().zip(outputs) {
                if largest_finite(&output[..width]).is_none() {
                    return Err(InferenceError::NotFinite {
                        layer: self.engine.config().num_hidden_layers,
                        row: named(*index),
                    });
                }
                take(*index, &output[..width]);
            }
            Ok(vec![None; computed.indices.len()])
        };
        let (engine, limits) = (self.engine, &self.limits);
        let start = Progress::default();
        schedule(
            engine,
            limits,
            requests,
            start,
            &named,
            on_progress,
            &mut finish,
        )
    }
}

/// The tokens with which any of the given words begins, at the start of an answer or after a space.
///
/// # Errors
/// The tokenizer cannot represent a word.
pub fn first_tokens(tokenizer: &Tokenizer, words: &[&str]) -> Result<BTreeSet<u32>, ModelError> {
    let mut tokens = BTreeSet::new();
    for word in words {
        for spelling in [(*word).to_owned(), format!(" {word}")] {
            tokens.extend(tokenizer.encode_plain(&spelling)?.first());
        }
    }
    Ok(tokens)
}
