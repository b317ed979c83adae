//! The waves of a run, as the plan will ask for them: those on record, then what the rule makes of the yield.

use crate::plan::size::next_wave;
use crate::record::{WaveEnd, WaveRecord};

/// Questions of each wave: those of `done`, of which one that is under way will end as expected, and then further ones until `target`
/// pairs are expected or `max_waves` are over.
pub fn waves(target: i64, max_waves: i32, done: &[WaveRecord], yield_ratio: f64) -> Vec<i64> {
    let most = usize::try_from(max_waves).unwrap_or(0);
    let mut waves: Vec<WaveRecord> = Vec::with_capacity(done.len());
    let (mut accepted, mut expected) = (0, 0.0);
    let mut ended = |mut wave: WaveRecord| {
        let generated = wave.total();
        let end = wave.end.unwrap_or_else(|| {
            expected += generated as f64 * yield_ratio;
            // Whole pairs, and no fraction of them lost from wave to wave.
            let whole = f64::floor(expected);
            expected -= whole;
            WaveEnd {
                generated,
                accepted: whole as i64,
            }
        });
        wave.end = Some(end);
        accepted += end.accepted;
        (wave, accepted)
    };
    let mut so_far = 0;
    for wave in done {
        let (wave, all) = ended(wave.clone());
        waves.push(wave);
        so_far = all;
    }
    while so_far < target && waves.len() < most {
        let (wave, all) = ended(WaveRecord {
            questions: vec![next_wave(target, &waves)],
            ..WaveRecord::default()
        });
        waves.push(wave);
        so_far = all;
    }
    waves.iter().map(WaveRecord::total).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wave(questions: i64, accepted: Option<i64>) -> WaveRecord {
        WaveRecord {
            questions: vec![questions],
            end: accepted.map(|accepted| WaveEnd {
                generated: questions,
                accepted,
            }),
            ..WaveRecord::default()
        }
    }

    #[test]
    fn the_quickstarts_waves_are_those_that_it_had() {
        let pilot = [wave(32, Some(3))];
        assert_eq!(waves(16, 6, &pilot, 0.14), [32, 247]);
        let whole = [wave(32, Some(3)), wave(247, Some(36))];
        assert_eq!(waves(16, 6, &whole, 0.14), [32, 247]);
    }

    #[test]
    fn a_wave_under_way_is_not_asked_for_again() {
        let under_way = [wave(32, Some(3)), wave(247, None)];
        assert_eq!(waves(16, 6, &under_way, 0.14), [32, 247]);
    }

    #[test]
    fn waves_end_at_their_limit_where_nothing_is_accepted() {
        assert_eq!(waves(16, 3, &[], 0.0), [32, 32, 64]);
        assert_eq!(waves(16, 0, &[], 0.5), [0; 0]);
    }

    proptest! {
        #[test]
        fn what_is_expected_reaches_the_target_or_the_limit(target in 1i64..1_000_000, limit in 1i32..50, ratio in 0.0f64..1.0) {
            let waves = waves(target, limit, &[], ratio);
            prop_assert!(waves.len() <= limit as usize && waves.iter().all(|wave| *wave > 0));
            let expected = waves.iter().sum::<i64>() as f64 * ratio;
            prop_assert!(waves.len() == limit as usize || expected >= target as f64 - 1e-6);
        }
    }
}
