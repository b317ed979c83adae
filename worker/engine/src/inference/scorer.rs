//! Scores token sequences: by a scalar or class head, by asking a chat model for a yes, or by the
//! probability of their tokens. Sequences that begin alike are computed once, and a score depends on its own
//! sequence alone.

use std::collections::BTreeSet;

use super::schedule::{Bounds, Computed, Watch, Work, schedule};
use super::{Engine, InferenceError, Progress, Segment};
use crate::model::{Head, ModelError, Tokenizer};
use crate::ops::cpu::{exp_in_place, largest_finite, log_sum_exp, sum_of_exponentials};

/// Scores with one model.
pub struct Scorer<'a> {
    engine: &'a Engine,
    bounds: Bounds,
}

impl<'a> Scorer<'a> {
    /// A scorer.
    pub fn new(engine: &'a Engine, bounds: Bounds) -> Self {
        Self { engine, bounds }
    }

    /// The value of a scalar head at the last token of every sequence: rewards, or difficulties.
    ///
    /// # Errors
    /// The model has no scalar head, a sequence is empty or too long, or the model gives a value that is not
    /// finite; or `watch`, called before every step, broke off.
    pub fn scores(
        &self,
        sequences: &[Vec<u32>],
        watch: Watch<'_>,
    ) -> Result<Vec<f32>, InferenceError> {
        if !self.engine.config().head.is_scalar() {
            let reason = "it has no scalar head (`score.weight` with one label); ask it as a verifier instead";
            return Err(InferenceError::Request {
                row: "the model".into(),
                reason: reason.into(),
            });
        }
        let outputs = self.head_outputs(sequences, watch)?;
        Ok(outputs.into_iter().map(|row| row[0]).collect())
    }

    /// The head's output at the last token of every sequence: a number a label, or a logit a token.
    ///
    /// # Errors
    /// As [`Scorer::scores`].
    pub fn head_outputs(
        &self,
        sequences: &[Vec<u32>],
        watch: Watch<'_>,
    ) -> Result<Vec<Vec<f32>>, InferenceError> {
        let mut outputs = vec![Vec::new(); sequences.len()];
        self.each_last(sequences, watch, |place, row| outputs[place] = row.to_vec())?;
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
        watch: Watch<'_>,
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
        self.each_last(sequences, watch, |place, logits| {
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
            probabilities[place] = yes / (yes + no);
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
        watch: Watch<'_>,
    ) -> Result<Vec<f64>, InferenceError> {
        let width = self.engine.head_width();
        let mut results = Vec::with_capacity(sequences.len());
        let mut progress = Progress::default();
        for (place, (tokens, from)) in sequences.iter().enumerate() {
            let refuse = |reason: &str| {
                Err(InferenceError::Request {
                    row: format!("row {place}"),
                    reason: reason.into(),
                })
            };
            if self.engine.config().head != Head::LanguageModel {
                return refuse("the model has no language model head");
            }
            if *from == 0 || *from >= tokens.len() {
                return refuse("no token with one before it to be scored");
            }
            if watch(progress).is_break() {
                return Err(InferenceError::Cancelled);
            }
            let mut cache = self.engine.new_cache();
            let fed = &tokens[..tokens.len() - 1];
            let hidden = self.engine.all_hidden(&mut [Segment {
                tokens: fed,
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
        watch: Watch<'_>,
        mut take: impl FnMut(usize, &[f32]),
    ) -> Result<(), InferenceError> {
        let named = |place: usize| format!("row {place}");
        if let Some(place) = sequences.iter().position(Vec::is_empty) {
            return Err(InferenceError::Request {
                row: named(place),
                reason: "the sequence is empty".into(),
            });
        }
        let works = sequences.iter().enumerate();
        let works = works
            .map(|(place, prompt)| Work {
                place,
                prompt,
                more: 0,
            })
            .collect();
        let width = self.engine.head_width();
        let mut finish = |computed: Computed<'_>| {
            let outputs = computed.outputs.chunks_exact(computed.stride);
            for (place, output) in computed.places.iter().zip(outputs) {
                if largest_finite(&output[..width]).is_none() {
                    return Err(InferenceError::NotFinite {
                        layer: self.engine.config().num_hidden_layers,
                        row: named(*place),
                    });
                }
                take(*place, &output[..width]);
            }
            Ok(vec![None; computed.places.len()])
        };
        let (engine, bounds) = (self.engine, &self.bounds);
        let begin = Progress::default();
        schedule(engine, bounds, works, begin, &named, watch, &mut finish)
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
