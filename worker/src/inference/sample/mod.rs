//! Chooses a token from logits: temperature, top-k and top-p, exactly, without sorting the vocabulary. A pure
//! function of the logits and one uniform number.
//!
//! A token's weight is `e^((logit - largest) / temperature)`, rounded to a multiple of 2^-35. Then every sum of
//! weights is exact in f64, for up to 2^18 tokens, whatever the order of the terms: what top-p keeps and which token
//! a draw takes are those of the definition by sorting. A token of less than 2^-36 of the likeliest one's
//! probability is never drawn.

use std::cell::RefCell;

use crate::ops::cpu::{exact_sum, largest_finite, sampling_weights};

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

/// Weights that are looked at together: whether any is kept, and their sum.
const STRETCH: usize = 256;

thread_local! {
    static WEIGHTS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// The chosen token; `uniform` is in [0, 1). `None` where a logit is not a number, or infinite.
///
/// Among equal logits the lower token is the likelier one.
pub fn choose(logits: &[f32], sampling: &Sampling, uniform: f64) -> Option<u32> {
    let largest = largest_finite(logits)?;
    if sampling.temperature <= 0.0 {
        return logits
            .iter()
            .position(|logit| *logit == largest)
            .map(|token| token as u32);
    }
    WEIGHTS.with_borrow_mut(|weights| {
        weights.resize(logits.len(), 0.0);
        let scale = (1.0 / sampling.temperature) as f32;
        sampling_weights(logits, largest, scale, weights);
        if let Some(k) = sampling.top_k.filter(|k| (1..logits.len()).contains(k)) {
            keep_top_k(logits, weights, k);
        }
        if sampling.top_p < 1.0 {
            draw(&top_p(weights, sampling.top_p), uniform)
        } else {
            draw_from_all(weights, uniform)
        }
    })
}

/// Clears the weights of all but the `k` likeliest tokens.
fn keep_top_k(logits: &[f32], weights: &mut [f32], k: usize) {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.select_nth_unstable_by(k - 1, |a, b| {
        logits[*b as usize]
            .total_cmp(&logits[*a as usize])
            .then(a.cmp(b))
    });
    for token in &order[k..] {
        weights[*token as usize] = 0.0;
    }
}

/// The likeliest tokens that together reach `share` of all weight, in order of their ids.
fn top_p(weights: &[f32], share: f64) -> Vec<(u32, f32)> {
    let total = exact_sum(weights);
    let needed = share * total;
    // Tokens below this have less than `1 - share` of the weight even all together: the others hold what is kept.
    let floor = ((1.0 - share) * total / weights.len() as f64) as f32;
    let floor = f32::from_bits(floor.to_bits().saturating_sub(1)).max(f32::MIN_POSITIVE);
    let mut candidates = at_least(weights, floor);
    let mut reached = 0.0;
    let border = border(&candidates, needed, &mut reached);
    let in_border = |weight: f32| bucket(weight) == border;
    let mut at_border: Vec<(u32, f32)> = candidates
        .iter()
        .copied()
        .filter(|(_, weight)| in_border(*weight))
        .collect();
    at_border.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let last = at_border.into_iter().find(|(_, weight)| {
        reached += f64::from(*weight);
        reached >= needed
    });
    if let Some((last, least)) = last {
        candidates
            .retain(|(token, weight)| *weight > least || (*weight == least && *token <= last));
    }
    candidates
}

/// Every token of at least this weight, in order.
fn at_least(weights: &[f32], floor: f32) -> Vec<(u32, f32)> {
    let mut found = Vec::new();
    for (stretch, weights) in weights.chunks(STRETCH).enumerate() {
        let first = (stretch * STRETCH) as u32;
        // Most stretches hold none, which is seen without a branch a token.
        if weights
            .iter()
            .fold(0, |count, weight| count + u32::from(*weight >= floor))
            > 0
        {
            let tokens = (first..).zip(weights.iter().copied());
            found.extend(tokens.filter(|(_, weight)| *weight >= floor));
        }
    }
    found
}

/// Buckets of weights by their leading bits: the exponent and three bits of the mantissa.
const BUCKETS: usize = 1 << 11;

fn bucket(weight: f32) -> usize {
    (weight.to_bits() >> 20) as usize
}

/// The bucket in which what is needed is reached, going down from the top; `reached` is what those above hold.
fn border(candidates: &[(u32, f32)], needed: f64, reached: &mut f64) -> usize {
    let mut mass = [0.0f64; BUCKETS];
    for (_, weight) in candidates {
        mass[bucket(*weight)] += f64::from(*weight);
    }
    let mut border = BUCKETS - 1;
    while border > 0 && *reached + mass[border] < needed {
        *reached += mass[border];
        border -= 1;
    }
    border
}

fn draw(kept: &[(u32, f32)], uniform: f64) -> Option<u32> {
    let total: f64 = kept.iter().map(|(_, weight)| f64::from(*weight)).sum();
    let mut left = uniform * total;
    let chosen = kept.iter().find(|(_, weight)| {
        left -= f64::from(*weight);
        left < 0.0
    });
    chosen.or(kept.last()).map(|(token, _)| *token)
}

/// The same where all tokens are kept: by stretches first.
fn draw_from_all(weights: &[f32], uniform: f64) -> Option<u32> {
    let mut left = uniform * exact_sum(weights);
    for (stretch, weights) in weights.chunks(STRETCH).enumerate() {
        let within = exact_sum(weights);
        if left < within {
            let place = weights.iter().position(|weight| {
                left -= f64::from(*weight);
                left < 0.0
            })?;
            return Some((stretch * STRETCH + place) as u32);
        }
        left -= within;
    }
    let last = weights.iter().rposition(|weight| *weight > 0.0)?;
    Some(last as u32)
}

#[cfg(test)]
mod tests;
