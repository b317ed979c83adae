//! A distribution of numbers of any range in bounded memory. Its at most 4,096 bins depend on the numbers alone, not on their
//! order. It knows nothing of plots.

use std::collections::BTreeMap;

/// Maximum number of bins.
const MAX_BINS: usize = 4096;

/// Numbers of two kinds (those of accepted rows, and all others) by size.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// Width of a bin: a power of two.
    width: f64,
    /// Counts by kind; bin `i` holds `i*width <= value < (i+1)*width`.
    bins: BTreeMap<i64, [i64; 2]>,
    least: f64,
    greatest: f64,
    sums: [f64; 2],
    whole: bool,
}

/// The two kinds of number in a [`Distribution`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of an accepted row.
    Accepted = 0,
    /// Of any other row.
    Other = 1,
}

/// A bin with round borders, for display.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// Lower border, included.
    pub low: f64,
    /// Upper border, excluded.
    pub high: f64,
    /// Counts by kind.
    pub counts: [i64; 2],
}

impl Distribution {
    /// Creates a distribution of whole numbers.
    pub fn whole() -> Self {
        Self {
            width: 1.0,
            bins: BTreeMap::new(),
            least: f64::INFINITY,
            greatest: f64::NEG_INFINITY,
            sums: [0.0; 2],
            whole: true,
        }
    }

    /// Creates a distribution of real numbers, with bins of 1/4096 if the range allows.
    pub fn real() -> Self {
        Self {
            width: 1.0 / 4096.0,
            whole: false,
            ..Self::whole()
        }
    }

    /// Whether the numbers are whole.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Counts `value` unless it is not finite.
    pub fn record(&mut self, value: f64, kind: Kind) {
        if !value.is_finite() {
            return;
        }
        let value = value.clamp(-1e12, 1e12);
        self.least = self.least.min(value);
        self.greatest = self.greatest.max(value);
        self.sums[kind as usize] += value;
        self.bins
            .entry((value / self.width).floor() as i64)
            .or_default()[kind as usize] += 1;
        while self.bins.len() > MAX_BINS {
            self.width *= 2.0;
            for (bin, counts) in std::mem::take(&mut self.bins) {
                let merged = self.bins.entry(bin.div_euclid(2)).or_default();
                (0..2).for_each(|kind| merged[kind] += counts[kind]);
            }
        }
    }

    /// Returns how many numbers of a kind were counted.
    pub fn count(&self, kind: Kind) -> i64 {
        self.bins.values().map(|counts| counts[kind as usize]).sum()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.bins.is_empty()
    }

    /// Returns the least and the greatest number, if any.
    pub fn range(&self) -> Option<(f64, f64)> {
        (!self.is_empty()).then_some((self.least, self.greatest))
    }

    /// Returns the mean of a kind, if any.
    pub fn mean(&self, kind: Kind) -> Option<f64> {
        let count = self.count(kind);
        (count > 0).then(|| self.sums[kind as usize] / count as f64)
    }

    /// Returns the median of a kind, exact to the width of a bin.
    pub fn median(&self, kind: Kind) -> Option<f64> {
        let middle = (self.count(kind) + 1) / 2;
        let mut seen = 0;
        self.bins.iter().find_map(|(bin, counts)| {
            seen += counts[kind as usize];
            (middle > 0 && seen >= middle)
                .then(|| (*bin as f64 * self.width).clamp(self.least, self.greatest))
        })
    }

    /// Returns at most about `most` bins with round borders, from the least to the greatest number, including empty ones.
    pub fn bins(&self, most: usize) -> Vec<Bin> {
        let Some((least, greatest)) = self.range() else {
            return Vec::new();
        };
        let finest = if self.whole { 1.0 } else { 0.001 };
        let step = round_step((greatest - least) / most.max(1) as f64)
            .max(self.width)
            .max(finest);
        let first = (least / step + 1e-9).floor();
        let count = ((greatest / step + 1e-9).floor() - first) as usize + 1;
        let mut bins: Vec<Bin> = (0..count)
            .map(|i| Bin {
                low: (first + i as f64) * step,
                high: (first + i as f64 + 1.0) * step,
                counts: [0; 2],
            })
            .collect();
        for (bin, counts) in &self.bins {
            let low = (*bin as f64 * self.width).clamp(least, greatest);
            let index = ((low / step + 1e-9).floor() - first).max(0.0) as usize;
            let merged = &mut bins[index.min(count - 1)].counts;
            (0..2).for_each(|kind| merged[kind] += counts[kind]);
        }
        bins
    }
}

/// Returns the least of 1, 2, 2.5 and 5 times a power of ten that is at least `step`.
pub fn round_step(step: f64) -> f64 {
    if !(step.is_finite() && step > 0.0) {
        return 0.0;
    }
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|round| *round >= step * (1.0 - 1e-9))
        .unwrap_or(step)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Distribution {
        let mut distribution = Distribution::real();
        values
            .iter()
            .for_each(|value| distribution.record(*value, Kind::Accepted));
        distribution
    }

    #[test]
    fn borders_are_round() {
        let bins = of(&[0.02, 0.31, 0.98]).bins(20);
        assert_eq!((bins[0].low, bins.len()), (0.0, 20));
        assert!(
            (bins[6].low - 0.3).abs() < 1e-12 && bins[6].counts[0] == 1,
            "{bins:?}"
        );
    }

    #[test]
    fn one_value_has_one_bin() {
        let mut tokens = Distribution::whole();
        tokens.record(17.0, Kind::Other);
        assert_eq!(
            tokens.bins(24),
            [Bin {
                low: 17.0,
                high: 18.0,
                counts: [0, 1]
            }]
        );
        assert_eq!(tokens.median(Kind::Other), Some(17.0));
        assert_eq!(tokens.median(Kind::Accepted), None);
    }

    #[test]
    fn non_finite_numbers_are_ignored() {
        assert!(of(&[f64::NAN, f64::INFINITY]).is_empty());
    }

    proptest! {
        #[test]
        fn bins_ignore_the_order_of_numbers(mut values in prop::collection::vec(-1e6f64..1e6, 1..9000)) {
            let forwards = of(&values);
            values.reverse();
            let backwards = of(&values);
            prop_assert_eq!(&forwards.bins, &backwards.bins);
            prop_assert_eq!(forwards.width, backwards.width);
            prop_assert!(forwards.bins.len() <= MAX_BINS);
            let bins = forwards.bins(24);
            prop_assert!(bins.len() <= 26);
            prop_assert_eq!(bins.iter().map(|bin| bin.counts[0]).sum::<i64>(), values.len() as i64);
        }
    }
}
