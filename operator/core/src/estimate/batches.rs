//! How long it takes to make many texts in batches: rows enter as others leave, and at the end a few long ones go on alone. What a step
//! takes for a batch is measured; how long each text gets is assumed to be as if every token were the last one with the same
//! probability, which gives the mean that is known and few texts at the limit.

use scalequest_crds::protocol::profile::DecodeStep;

/// Rows that our engine has in flight.
const ROWS: usize = 32;

/// Texts beyond which a batch goes on as it was: only its end differs from its midst.
const ENOUGH: usize = 4096;

/// Seconds to make `texts` texts of `mean` tokens each on average and `longest` at most, by the seconds of a step.
pub fn seconds(texts: usize, mean: f64, longest: f64, steps: &[DecodeStep]) -> f64 {
    if texts == 0 || mean <= 0.0 || steps.is_empty() {
        return 0.0;
    }
    if texts > ENOUGH {
        let (whole, half) = (
            seconds(ENOUGH, mean, longest, steps),
            seconds(ENOUGH / 2, mean, longest, steps),
        );
        return whole + (texts - ENOUGH) as f64 * (whole - half) / (ENOUGH / 2) as f64;
    }
    let scale = scale(mean, longest);
    // The golden ratio mixes long and short texts as evenly as can be.
    let length = |place: usize| {
        let share = ((place as f64 + 0.5) * 0.618_033_988_75).fract();
        (-scale * (1.0 - share).ln()).min(longest).max(1.0)
    };
    let sum: f64 = (0..texts).map(length).sum();
    let stretch = texts as f64 * mean.min(longest) / sum;
    let mut waiting = (0..texts).map(|place| (length(place) * stretch).min(longest));
    let mut rows: Vec<f64> = waiting.by_ref().take(ROWS).collect();
    let mut total = 0.0;
    while !rows.is_empty() {
        let shortest = rows.iter().copied().fold(f64::INFINITY, f64::min);
        total += shortest * step(rows.len(), steps);
        rows.iter_mut().for_each(|left| *left -= shortest);
        rows.retain(|left| *left > 1e-9);
        let room = ROWS - rows.len();
        rows.extend(waiting.by_ref().take(room));
    }
    total
}

/// Seconds of a step of so many rows: between two that were measured on the line between them; beyond the largest in proportion.
fn step(rows: usize, steps: &[DecodeStep]) -> f64 {
    let after = steps.partition_point(|step| step.rows < rows);
    match (steps[..after].last(), steps.get(after)) {
        (Some(a), Some(b)) => {
            let share = (rows - a.rows) as f64 / (b.rows - a.rows) as f64;
            a.seconds + share * (b.seconds - a.seconds)
        }
        (None, Some(first)) => first.seconds,
        (Some(last), None) => last.seconds * rows as f64 / last.rows as f64,
        (None, None) => 0.0,
    }
}

/// The scale of exponential lengths that have this mean once they are cut at `longest`.
fn scale(mean: f64, longest: f64) -> f64 {
    if !longest.is_finite() {
        return mean;
    }
    let (mut low, mut high) = (mean, 1e4 * mean.max(longest));
    for _ in 0..100 {
        let middle = (low * high).sqrt();
        let gives = middle * (1.0 - (-longest / middle).exp());
        if gives < mean {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STEPS: [DecodeStep; 3] = [
        DecodeStep {
            rows: 1,
            seconds: 0.010,
        },
        DecodeStep {
            rows: 8,
            seconds: 0.017,
        },
        DecodeStep {
            rows: 32,
            seconds: 0.041,
        },
    ];

    #[test]
    fn step_time_is_interpolated() {
        for (rows, expected) in [(1, 0.010), (2, 0.011), (8, 0.017), (20, 0.029), (64, 0.082)] {
            assert!((step(rows, &STEPS) - expected).abs() < 1e-12, "{rows}");
        }
    }

    #[test]
    fn equal_lengths_fill_whole_batches() {
        let all = seconds(64, 100.0, 100.0, &STEPS);
        assert!((all - 2.0 * 100.0 * 0.041).abs() < 0.01 * all, "{all}");
        let one = seconds(1, 50.0, 50.0, &STEPS);
        assert!((one - 0.5).abs() < 0.01, "{one}");
    }

    #[test]
    fn few_mixed_lengths_leave_batches_emptier() {
        let a_text = |texts: usize| seconds(texts, 50.0, 400.0, &STEPS) / texts as f64;
        assert!(
            a_text(4) > 1.5 * a_text(1000),
            "{} {}",
            a_text(4),
            a_text(1000)
        );
        let full = 50.0 * 0.041 / 32.0;
        assert!((a_text(100_000) / full - 1.0).abs() < 0.05);
    }

    proptest! {
        #[test]
        fn more_texts_and_longer_ones_take_longer(texts in 1usize..6000, mean in 1.0f64..500.0, times in 1.0f64..20.0) {
            let longest = mean * times;
            let seconds = |texts, mean, longest| super::seconds(texts, mean, longest, &STEPS);
            let base = seconds(texts, mean, longest);
            prop_assert!(base.is_finite() && base > 0.0);
            prop_assert!(seconds(texts + 64, mean, longest) > base);
            prop_assert!(seconds(texts, 2.0 * mean, 2.0 * longest) > base);
            // Never faster than a full batch throughout, nor slower than one after the other.
            let tokens = texts as f64 * mean;
            prop_assert!(base > 0.5 * tokens * 0.041 / 32.0);
            prop_assert!(base < 2.0 * (tokens + longest) * 0.010 + 1.0);
        }
    }
}
