//! Samples a token from logits: temperature, top-k and top-p, exactly, without sorting the vocabulary. A pure
//! function of the logits and one uniform number.
//!
//! A token's weight is `e^((logit - largest) / temperature)`, rounded to a multiple of 2^-35. Then every sum of
//! weights is exact in f64, for up to 2^18 tokens, whatever the order of the terms: what top-p keeps and which token
//! is sampled are those of the definition by sorting. A token of less than 2^-36 of the likeliest one's
//! probability is never sampled.

use std::cell::RefCell;

use crate::ops::cpu::{keep_at_least, largest_finite, sampling_weights};

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f64,
    /// Keeps the fewest likeliest tokens whose probability together reaches this; 1 keeps all.
    pub top_p: f64,
    /// Keeps this many likeliest tokens, before `top_p`; `None` keeps all.
    pub top_k: Option<usize>,
}

impl Sampling {
    /// The likeliest token, always.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_p: 1.0,
        top_k: None,
    };

    /// Sampling with a temperature and a top-p.
    pub fn new(temperature: f64, top_p: f64) -> Self {
        Self {
            temperature,
            top_p,
            top_k: None,
        }
    }
}

/// The weights of a vocabulary, and what is known of each stretch of them.
#[derive(Default)]
struct Weights {
    weights: Vec<f32>,
    stretches: Vec<Stretch>,
}

/// What is known of [`STRETCH`] consecutive weights, so that most need not be read again.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    sum: f64,
    largest: f32,
}

const STRETCH: usize = 256;

thread_local! {
    static WEIGHTS: RefCell<Weights> = RefCell::default();
}

/// Samples a token; `uniform` is in [0, 1). Returns `None` if a logit is not a number, or infinite.
///
/// Among equal logits the lower token is the likelier one.
pub fn sample_token(logits: &[f32], sampling: &Sampling, uniform: f64) -> Option<u32> {
    let largest = largest_finite(logits)?;
    if sampling.temperature <= 0.0 {
        return logits
            .iter()
            .position(|logit| *logit == largest)
            .map(|token| token as u32);
    }
    WEIGHTS.with_borrow_mut(|weights| {
        weights.fill(logits, largest, (1.0 / sampling.temperature) as f32);
        if let Some(k) = sampling.top_k.filter(|k| (1..logits.len()).contains(k)) {
            weights.keep_top_k(logits, k);
        }
        if sampling.top_p < 1.0 {
            weights.keep_top_p(sampling.top_p);
        }
        weights.sample(uniform)
    })
}

/// Buckets of weights by their leading bits, the exponent and three bits of the mantissa; none is above 1, which is
/// in bucket 1016.
const BUCKETS: usize = 1024;
const BUCKET_SHIFT: u32 = 20;

fn bucket(weight: f32) -> usize {
    (weight.to_bits() >> BUCKET_SHIFT) as usize % BUCKETS
}

impl Weights {
    fn fill(&mut self, logits: &[f32], largest: f32, scale: f32) {
        self.weights.resize(logits.len(), 0.0);
        self.stretches.clear();
        let stretches = logits.chunks(STRETCH).zip(self.weights.chunks_mut(STRETCH));
        self.stretches.extend(stretches.map(|(logits, weights)| {
            let (sum, largest) = sampling_weights(logits, largest, scale, weights);
            Stretch { sum, largest }
        }));
    }

    fn total(&self) -> f64 {
        self.stretches.iter().map(|stretch| stretch.sum).sum()
    }

    /// Stretches that hold a weight of at least `floor`, with their first tokens.
    fn stretches(&self, floor: f32) -> impl Iterator<Item = (u32, &[f32])> {
        let stretches = (0..).step_by(STRETCH).zip(self.weights.chunks(STRETCH));
        let known = stretches.zip(&self.stretches);
        known
            .filter(move |(_, stretch)| stretch.largest >= floor)
            .map(|(weights, _)| weights)
    }

    /// Clears the weights of all but the `k` likeliest tokens.
    fn keep_top_k(&mut self, logits: &[f32], k: usize) {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let (_, last, _) = order.select_nth_unstable_by(k - 1, |a, b| {
            logits[*b as usize]
                .total_cmp(&logits[*a as usize])
                .then(a.cmp(b))
        });
        let (last, least) = (*last, logits[*last as usize]);
        for ((token, weight), logit) in (0..).zip(&mut self.weights).zip(logits) {
            let is_kept = *logit > least || (*logit == least && token <= last);
            *weight = if is_kept { *weight } else { 0.0 };
        }
        for (stretch, weights) in self
            .stretches
            .iter_mut()
            .zip(self.weights.chunks_mut(STRETCH))
        {
            stretch.sum = keep_at_least(weights, 0.0);
        }
    }

    /// Clears the weights of all but the likeliest tokens that together reach `share` of all weight.
    fn keep_top_p(&mut self, share: f64) {
        let total = self.total();
        let needed = share * total;
        // Tokens below this have less than `1 - share` of the weight even all together: what is kept lies above.
        let floor = ((1.0 - share) * total / self.weights.len() as f64) as f32;
        let floor = f32::from_bits(floor.to_bits().saturating_sub(1)).max(f32::MIN_POSITIVE);
        let (border, mut reached) = self.border(floor, needed);
        let lowest = f32::from_bits((border as u32) << BUCKET_SHIFT).max(floor);
        let mut at_border = Vec::new();
        for (first, stretch) in self.stretches(lowest) {
            let tokens = (first..).zip(stretch.iter().copied());
            at_border.extend(tokens.filter(|(_, weight)| bucket(*weight) == border));
        }
        at_border.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let last = at_border.into_iter().find(|(_, weight)| {
            reached += f64::from(*weight);
            reached >= needed
        });
        if let Some((last, least)) = last {
            self.keep_up_to(last as usize, least);
        }
    }

    /// Keeps the weights above `least`, and of those equal to it the ones of tokens up to `last`.
    fn keep_up_to(&mut self, last: usize, least: f32) {
        let stretches = self.weights.chunks_mut(STRETCH).zip(&mut self.stretches);
        for (first, (weights, stretch)) in (0..).step_by(STRETCH).zip(stretches) {
            stretch.sum = if stretch.largest < least {
                0.0
            } else {
                let equal = (last + 1).saturating_sub(first).min(weights.len());
                let (before, after) = weights.split_at_mut(equal);
                keep_at_least(before, least) + keep_at_least(after, least.next_up())
            };
        }
    }

    /// The bucket in which what is needed is reached, going down from the top, and what those above it hold.
    fn border(&self, floor: f32, needed: f64) -> (usize, f64) {
        // Several sums side by side, because equal weights follow each other and one sum would wait for itself.
        let mut mass = [[0.0f64; BUCKETS]; 4];
        for (_, stretch) in self.stretches(floor) {
            let (fours, rest) = stretch.as_chunks::<4>();
            for four in fours {
                for (mass, weight) in mass.iter_mut().zip(four) {
                    mass[bucket(*weight)] += f64::from(*weight);
                }
            }
            for weight in rest {
                mass[0][bucket(*weight)] += f64::from(*weight);
            }
        }
        let mut border = BUCKETS - 1;
        let mut reached = 0.0;
        loop {
            let within: f64 = mass.iter().map(|mass| mass[border]).sum();
            if border == 0 || reached + within >= needed {
                return (border, reached);
            }
            reached += within;
            border -= 1;
        }
    }

    /// The token in which the weights, added up in order, pass `uniform` of their sum.
    fn sample(&self, uniform: f64) -> Option<u32> {
        let mut left = uniform * self.total();
        let mut latest = None;
        for (place, stretch) in self
            .stretches
            .iter()
            .enumerate()
            .filter(|(_, s)| s.sum > 0.0)
        {
            let first = place * STRETCH;
            let weights = &self.weights[first..self.weights.len().min(first + STRETCH)];
            if left < stretch.sum {
                let place = weights.iter().position(|weight| {
                    left -= f64::from(*weight);
                    left < 0.0
                })?;
                return Some((first + place) as u32);
            }
            left -= stretch.sum;
            latest = Some((first, weights));
        }
        // The product was rounded up to the sum itself.
        let (first, weights) = latest?;
        let last = weights.iter().rposition(|weight| *weight > 0.0)?;
        Some((first + last) as u32)
    }
}

#[cfg(test)]
mod tests;
