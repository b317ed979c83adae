//! Chooses a token from logits: temperature, top-k and top-p, exactly, without sorting the vocabulary. A pure
//! function of the logits and one uniform number.

use crate::ops::cpu::exp_in_place;

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

/// Buckets of weights by their leading bits: the exponent and three bits of the mantissa.
const BUCKETS: usize = 1 << 11;
const BUCKET_SHIFT: u32 = 20;

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
    let scale = (1.0 / sampling.temperature) as f32;
    let mut weights: Vec<f32> = logits
        .iter()
        .map(|logit| (logit - largest) * scale)
        .collect();
    exp_in_place(&mut weights);
    if let Some(k) = sampling.top_k.filter(|k| (1..logits.len()).contains(k)) {
        keep_top_k(logits, &mut weights, k);
    }
    let kept = if sampling.top_p < 1.0 {
        top_p(&weights, sampling.top_p)
    } else {
        (0u32..)
            .zip(weights.iter().copied())
            .filter(|(_, weight)| *weight > 0.0)
            .collect()
    };
    let total: f64 = kept.iter().map(|(_, weight)| f64::from(*weight)).sum();
    let mut left = uniform * total;
    for (token, weight) in &kept {
        left -= f64::from(*weight);
        if left < 0.0 {
            return Some(*token);
        }
    }
    kept.last().map(|(token, _)| *token)
}

fn largest_finite(logits: &[f32]) -> Option<f32> {
    let mut largest = f32::NEG_INFINITY;
    let mut all_finite = true;
    for logit in logits {
        all_finite &= logit.is_finite();
        largest = if *logit > largest { *logit } else { largest };
    }
    (all_finite && !logits.is_empty()).then_some(largest)
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
    let bucket = |weight: f32| (weight.to_bits() >> BUCKET_SHIFT) as usize;
    let mut mass = vec![0.0f64; BUCKETS];
    for weight in weights {
        mass[bucket(*weight)] += f64::from(*weight);
    }
    let needed = share * mass.iter().rev().sum::<f64>();
    // Whole buckets from the top, until the next one would reach what is needed.
    let mut reached = 0.0;
    let mut border = BUCKETS - 1;
    while border > 0 && reached + mass[border] < needed {
        reached += mass[border];
        border -= 1;
    }
    let mut at_border: Vec<(u32, f32)> = (0u32..)
        .zip(weights.iter().copied())
        .filter(|(_, weight)| bucket(*weight) == border && *weight > 0.0)
        .collect();
    at_border.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut last = None;
    for (token, weight) in at_border {
        last = Some((token, weight));
        reached += f64::from(weight);
        if reached >= needed {
            break;
        }
    }
    let is_kept = |token: u32, weight: f32| match last {
        Some((last, least)) => weight > least || (weight == least && token <= last),
        None => weight > 0.0,
    };
    (0u32..)
        .zip(weights.iter().copied())
        .filter(|(token, weight)| is_kept(*token, *weight))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{Sampling, choose, top_p};

    /// By the definition: sort, accumulate, cut.
    fn top_p_by_sorting(weights: &[f32], share: f64) -> Vec<u32> {
        let mut order: Vec<usize> = (0..weights.len())
            .filter(|index| weights[*index] > 0.0)
            .collect();
        order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]).then(a.cmp(b)));
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let mut reached = 0.0;
        let mut kept = Vec::new();
        for index in order {
            kept.push(index as u32);
            reached += f64::from(weights[index]);
            if reached >= share * total {
                break;
            }
        }
        kept.sort_unstable();
        kept
    }

    proptest! {
        #[test]
        fn top_p_keeps_what_sorting_keeps(
            // Multiples of 1/64 add up without rounding, so that ties and borders are exact.
            weights in prop::collection::vec((0u16..640).prop_map(|n| f32::from(n) / 64.0), 1..300),
            share in (1u32..100).prop_map(|n| f64::from(n) / 100.0),
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0.0));
            let kept: Vec<u32> = top_p(&weights, share).into_iter().map(|(token, _)| token).collect();
            prop_assert_eq!(kept, top_p_by_sorting(&weights, share));
        }

        #[test]
        fn top_k_of_one_is_greedy(logits in prop::collection::vec(-9.0f32..9.0, 1..50), u in 0.0f64..1.0) {
            let one = Sampling { temperature: 1.0, top_p: 1.0, top_k: Some(1) };
            prop_assert_eq!(choose(&logits, &one, u), choose(&logits, &Sampling::GREEDY, 0.0));
        }
    }

    #[test]
    fn tokens_come_as_often_as_their_probabilities_say() {
        let probabilities = [0.5f64, 0.25, 0.125, 0.125];
        let logits: Vec<f32> = probabilities.iter().map(|p| p.ln() as f32).collect();
        let mut counts = BTreeMap::new();
        for step in 0..8_000 {
            let token = choose(&logits, &Sampling::new(1.0, 1.0), f64::from(step) / 8_000.0)
                .expect("a token");
            *counts.entry(token).or_insert(0) += 1;
        }
        assert_eq!(
            counts.into_values().collect::<Vec<i32>>(),
            [4_000, 2_000, 1_000, 1_000]
        );
    }

    #[test]
    fn logits_that_are_not_finite_choose_nothing() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(choose(&[0.0, bad], &Sampling::new(1.0, 0.9), 0.5), None);
            assert_eq!(choose(&[bad, 0.0], &Sampling::GREEDY, 0.5), None);
        }
    }
}
