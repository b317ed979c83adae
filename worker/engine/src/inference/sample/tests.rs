use proptest::prelude::*;

use super::{Sampling, Weights, sample_token};
use crate::inference::CounterRng;

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

/// The token in which the cumulated weight of the kept ones passes the sampled point.
fn choose_by_sorting(weights: &[f32], share: f64, uniform: f64) -> u32 {
    let kept = if share < 1.0 {
        top_p_by_sorting(weights, share)
    } else {
        (0..weights.len() as u32).collect()
    };
    let weight = |token: &u32| f64::from(weights[*token as usize]);
    let point = uniform * kept.iter().map(weight).sum::<f64>();
    let mut passed = 0.0;
    let place = kept.iter().position(|token| {
        passed += weight(token);
        passed > point
    });
    kept[place.unwrap_or(kept.len() - 1)]
}

fn filled(logits: &[f32], temperature: f64) -> Weights {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut weights = Weights::default();
    weights.fill(logits, largest, (1.0 / temperature) as f32);
    weights
}

fn top_p(logits: &[f32], temperature: f64, share: f64) -> Vec<(u32, f32)> {
    let mut weights = filled(logits, temperature);
    weights.keep_top_p(share);
    let kept = weights
        .stretches
        .iter()
        .zip(weights.weights.chunks(super::STRETCH));
    // A stretch without a sum is not read again, and not cleared.
    (0..)
        .step_by(super::STRETCH)
        .zip(kept)
        .filter(|(_, (stretch, _))| stretch.sum > 0.0)
        .flat_map(|(first, (_, weights))| (first..).zip(weights.iter().copied()))
        .filter(|(_, weight)| *weight > 0.0)
        .collect()
}

fn weights_of(logits: &[f32], temperature: f64) -> Vec<f32> {
    filled(logits, temperature).weights
}

/// Logits that are hard for a search by thresholds: ties, plateaus, one giant, long tails, far apart.
fn adversarial() -> impl Strategy<Value = Vec<f32>> {
    let some = |range| prop::collection::vec(range, 1..1200);
    prop_oneof![
        some(-12.0f32..12.0),
        some(-0.001f32..0.001),
        some(-90.0f32..0.0),
        prop::collection::vec(-3i8..3, 1..1200)
            .prop_map(|logits| logits.into_iter().map(f32::from).collect()),
        (1usize..1200).prop_map(|count| vec![1.5; count]),
        (1usize..1200).prop_map(|count| (0..count).map(|i| -(i as f32)).collect()),
        (1usize..1200, 0usize..1200).prop_map(|(count, place)| {
            let mut logits = vec![-15.0; count];
            logits[place % count] = 0.0;
            logits
        }),
    ]
}

proptest! {
    #[test]
    fn matches_sorting_the_vocabulary(
        logits in adversarial(), share in prop_oneof![0.01f64..1.0, Just(1.0), Just(0.999_999), Just(1e-9)],
        temperature in 0.05f64..4.0, uniform in prop_oneof![0.0f64..1.0, Just(0.0), Just(1.0 - 1e-16)],
    ) {
        let weights = weights_of(&logits, temperature);
        if share < 1.0 {
            let kept: Vec<u32> = top_p(&logits, temperature, share).into_iter().map(|(token, _)| token).collect();
            prop_assert_eq!(kept, top_p_by_sorting(&weights, share));
        }
        let chosen = sample_token(&logits, &Sampling::new(temperature, share), uniform);
        prop_assert_eq!(chosen, Some(choose_by_sorting(&weights, share, uniform)));
    }

    #[test]
    fn weights_sum_exactly_in_any_order(logits in adversarial(), temperature in 0.05f64..4.0) {
        let mut weights: Vec<f64> = weights_of(&logits, temperature).into_iter().map(f64::from).collect();
        let forwards: f64 = weights.iter().sum();
        weights.sort_by(f64::total_cmp);
        prop_assert_eq!(weights.iter().sum::<f64>().to_bits(), forwards.to_bits());
        prop_assert_eq!(weights.iter().rev().sum::<f64>().to_bits(), forwards.to_bits());
    }

    #[test]
    fn top_k_of_one_is_greedy(logits in prop::collection::vec(-9.0f32..9.0, 1..50), u in 0.0f64..1.0) {
        let one = Sampling { temperature: 1.0, top_p: 1.0, top_k: Some(1) };
        prop_assert_eq!(sample_token(&logits, &one, u), sample_token(&logits, &Sampling::GREEDY, 0.0));
    }
}

#[test]
fn samples_follow_their_distribution() {
    // Pearson's chi-square over what top-p keeps of a skewed distribution, at random numbers as stages have them.
    let logits: Vec<f32> = (0..40).map(|i| ((i * 37) % 40) as f32 * 0.15).collect();
    let (temperature, share) = (0.9, 0.95);
    let kept = top_p(&logits, temperature, share);
    let total: f64 = kept.iter().map(|(_, weight)| f64::from(*weight)).sum();
    let (rng, draws) = (CounterRng::new(5, "test"), 40_000);
    let mut counts = [0u32; 40];
    for sample in 0..draws {
        let token = sample_token(
            &logits,
            &Sampling::new(temperature, share),
            rng.uniform(sample, 0),
        );
        counts[token.expect("a token") as usize] += 1;
    }
    let statistic: f64 = kept
        .iter()
        .map(|(token, weight)| {
            let expected = draws as f64 * f64::from(*weight) / total;
            (f64::from(counts[*token as usize]) - expected).powi(2) / expected
        })
        .sum();
    assert_eq!(
        kept.iter()
            .map(|(token, _)| counts[*token as usize])
            .sum::<u32>(),
        draws as u32,
        "nothing else is drawn"
    );
    // Mean n - 1, variance 2 (n - 1): four deviations on either side.
    let freedom = (kept.len() - 1) as f64;
    assert!(
        (statistic - freedom).abs() < 4.0 * (2.0 * freedom).sqrt(),
        "{statistic} at {freedom} degrees of freedom"
    );
}

#[test]
fn infinite_logits_give_no_token() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for place in [0, 20] {
            let mut logits = [0.5; 40];
            logits[place] = bad;
            assert_eq!(sample_token(&logits, &Sampling::new(1.0, 0.9), 0.5), None);
            assert_eq!(sample_token(&logits, &Sampling::GREEDY, 0.5), None);
        }
    }
}
