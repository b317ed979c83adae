//! How many questions a wave asks for. Sizes follow from the target and from sealed counts alone, never from time or rates, so that every
//! execution of a run makes the same rows.
//!
//! And how many rows make a shard: about a quarter of an hour of work by the rates on record, so that loading a model stays a small part of
//! a worker's life and losing one costs little. Shards decide nothing about the rows: any cut gives the same bytes.

use scalequest_crds::v1alpha1::Stage;

use crate::record::{RunRecord, WaveRecord};

/// Smallest and largest pilot wave.
const PILOT: (i64, i64) = (32, 2048);

/// Smallest later wave: below it, loading models would cost more than the rows.
const SMALLEST: i64 = 16;

/// Share by which a wave is larger than the lower bound of the yield asks for.
const MARGIN: f64 = 1.02;

/// Questions of the first wave: a sixteenth of the target, at least 32 and at most 2,048. It measures the yield.
pub fn pilot(target: i64) -> i64 {
    let sixteenth = target / 16 + i64::from(target % 16 != 0);
    sixteenth.clamp(PILOT.0, PILOT.1)
}

/// Most questions in one wave: what is lost where a limit stops a run in the midst of one.
pub fn largest(target: i64) -> i64 {
    target.saturating_mul(8).clamp(256, (target / 2).max(8192))
}

/// Questions of the wave after `waves`, all of which are over and together accepted fewer than `target` pairs: the shortfall divided by
/// the lower bound of the yield so far, with a margin. Where nothing was accepted yet, as many as all waves so far.
pub fn next_wave(target: i64, waves: &[WaveRecord]) -> i64 {
    let (mut generated, mut accepted) = (0i64, 0i64);
    for end in waves.iter().filter_map(|wave| wave.end) {
        generated += end.generated;
        accepted += end.accepted;
    }
    if generated == 0 {
        return pilot(target);
    }
    let needed = if accepted == 0 {
        generated
    } else {
        let shortfall = (target - accepted).max(1);
        (shortfall as f64 / yield_lower_bound(accepted, generated) * MARGIN).ceil() as i64
    };
    needed.clamp(SMALLEST, largest(target))
}

/// Lower bound of the yield `accepted / generated`: Wilson's score interval at one standard error. Above 0 where `accepted` is.
pub fn yield_lower_bound(accepted: i64, generated: i64) -> f64 {
    let n = generated.max(1) as f64;
    let p = accepted.clamp(0, generated.max(1)) as f64 / n;
    let spread = (p * (1.0 - p) / n + 1.0 / (4.0 * n * n)).sqrt();
    ((p + 1.0 / (2.0 * n) - spread) / (1.0 + 1.0 / n)).max(0.0)
}

/// `total` shared out by `weights`, by largest remainder; of equal remainders the earlier one takes the odd question.
pub fn share(total: i64, weights: &[i64]) -> Vec<i64> {
    let sum: i128 = weights
        .iter()
        .map(|weight| i128::from((*weight).max(0)))
        .sum();
    if sum == 0 || total <= 0 {
        return vec![0; weights.len()];
    }
    let exact: Vec<i128> = weights
        .iter()
        .map(|weight| i128::from(total) * i128::from((*weight).max(0)))
        .collect();
    let mut shares: Vec<i64> = exact.iter().map(|part| (part / sum) as i64).collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|index| (std::cmp::Reverse(exact[*index] % sum), *index));
    let left = total - shares.iter().sum::<i64>();
    for index in order.into_iter().take(usize::try_from(left).unwrap_or(0)) {
        shares[index] += 1;
    }
    shares
}

/// Milliseconds of work that a shard aims at.
pub(crate) const SHARD_MILLIS: f64 = 15.0 * 60.0 * 1000.0;

/// Rows in a shard of `stage` with `rows` rows of work; at least 1.
pub(super) fn rows_per_shard(record: &RunRecord, stage: Stage, rows: i64) -> i64 {
    let whole = rows.max(1);
    if !stage.is_sharded() {
        return whole;
    }
    match record.millis_per_row(stage) {
        Some(millis) => ((SHARD_MILLIS / millis).clamp(1.0, 1e9) as i64).clamp(1, whole),
        None => unmeasured(stage).clamp(1, whole),
    }
}

/// Rows in a shard before anything was measured.
pub(crate) fn unmeasured(stage: Stage) -> i64 {
    match stage {
        Stage::Respond | Stage::Label => 64,
        Stage::Judge | Stage::Rewrite | Stage::Reward => 128,
        Stage::Sample | Stage::Generate | Stage::Score => 512,
        Stage::Qft
        | Stage::Qpo
        | Stage::TrainScorer
        | Stage::Filter
        | Stage::Verify
        | Stage::Publish => i64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::WaveEnd;

    fn over(generated: i64, accepted: i64) -> WaveRecord {
        WaveRecord {
            wave: 1,
            first_id: 0,
            questions: vec![generated],
            end: Some(WaveEnd {
                generated,
                accepted,
            }),
        }
    }

    #[test]
    fn pilot_size_follows_target() {
        assert_eq!(
            [1, 16, 1000, 10_000, 100_000, 1_000_000].map(pilot),
            [32, 32, 63, 625, 2048, 2048]
        );
    }

    #[test]
    fn second_wave_covers_shortfall() {
        let size = next_wave(1000, &[over(64, 32)]);
        assert!((1936..2400).contains(&size), "{size}");
        let precise = next_wave(1_000_000, &[over(2048, 1024), over(500_000, 250_000)]);
        assert_eq!(precise, 500_000);
        let last = next_wave(1_000_000, &[over(1_900_000, 950_000)]);
        assert!((100_000..103_000).contains(&last), "{last}");
    }

    #[test]
    fn waves_without_yield_double() {
        let mut waves = vec![over(pilot(100), 0)];
        let mut sizes = Vec::new();
        for _ in 0..6 {
            let size = next_wave(100, &waves);
            waves.push(over(size, 0));
            sizes.push(size);
        }
        assert_eq!(sizes, [32, 64, 128, 256, 512, 800]);
    }

    #[test]
    fn shares_follow_weights() {
        assert_eq!(share(10, &[60, 40]), [6, 4]);
        assert_eq!(share(32, &[1, 1, 1]), [11, 11, 10]);
        assert_eq!(share(7, &[0, 3]), [0, 7]);
        assert_eq!(share(5, &[0, 0]), [0, 0]);
    }

    proptest! {
        #[test]
        fn shares_add_up(total in 0i64..5_000_000, weights in proptest::collection::vec(0i64..1000, 1..9)) {
            let shares = share(total, &weights);
            let any = weights.iter().any(|weight| *weight > 0);
            prop_assert_eq!(shares.iter().sum::<i64>(), if any { total } else { 0 });
            for (share, weight) in shares.iter().zip(&weights) {
                prop_assert!(*weight > 0 || *share == 0);
            }
        }

        #[test]
        fn wave_sizes_are_bounded(target in 1i64..100_000_000, generated in 1i64..10_000_000, share in 0.0f64..1.0) {
            let accepted = ((generated as f64 * share) as i64).min(target - 1);
            let size = next_wave(target, &[over(generated, accepted)]);
            prop_assert!(size >= SMALLEST && size <= largest(target));
            if accepted > 0 {
                let bound = yield_lower_bound(accepted, generated);
                prop_assert!(bound > 0.0 && bound <= accepted as f64 / generated as f64 + 1e-9);
            }
        }
    }
}
