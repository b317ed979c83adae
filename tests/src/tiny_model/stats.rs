//! What measurements allow to claim: shares and changes of shares, each with its 95% confidence interval.

/// Standard errors on either side of an estimate in a 95% interval.
const Z: f64 = 1.96;

/// A share of successes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Successes.
    pub hits: usize,
    /// Tries.
    pub of: usize,
}

impl Share {
    /// The share itself.
    pub fn value(self) -> f64 {
        self.hits as f64 / self.of.max(1) as f64
    }

    /// Its confidence interval (Wilson).
    pub fn interval(self) -> (f64, f64) {
        let (n, p) = (self.of.max(1) as f64, self.value());
        let middle = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
        let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        (middle - half, middle + half)
    }

    /// The share of failures.
    pub fn rest(self) -> Self {
        Self {
            hits: self.of - self.hits,
            of: self.of,
        }
    }

    /// Counts the successes among `tries`.
    pub fn of(tries: impl IntoIterator<Item = bool>) -> Self {
        tries
            .into_iter()
            .fold(Self { hits: 0, of: 0 }, |share, hit| Self {
                hits: share.hits + usize::from(hit),
                of: share.of + 1,
            })
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (low, high) = self.interval();
        write!(
            f,
            "{:.1}% ({:.1} to {:.1}, {} of {})",
            100.0 * self.value(),
            100.0 * low,
            100.0 * high,
            self.hits,
            self.of
        )
    }
}

/// A change, with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The change itself.
    pub value: f64,
    /// Half of the interval's width.
    pub half: f64,
}

impl Change {
    /// From one share to another of other tries (normal approximation).
    pub fn between(before: Share, after: Share) -> Self {
        let variance = |share: Share| {
            let p = share.value();
            p * (1.0 - p) / share.of.max(1) as f64
        };
        Self {
            value: after.value() - before.value(),
            half: Z * (variance(before) + variance(after)).sqrt(),
        }
    }

    /// The mean of what changed in each of the same cases.
    pub fn paired(changes: &[f64]) -> Self {
        let n = changes.len().max(2) as f64;
        let mean = changes.iter().sum::<f64>() / n;
        let variance = changes.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
        Self {
            value: mean,
            half: Z * (variance / n).sqrt(),
        }
    }

    /// Whether it is beyond doubt an improvement.
    pub fn helps(self) -> bool {
        self.value > self.half
    }

    /// Whether it is beyond doubt a loss.
    pub fn harms(self) -> bool {
        self.value < -self.half
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let says = if self.helps() {
            "helps"
        } else if self.harms() {
            "HARMS"
        } else {
            "no difference shown"
        };
        let points = |share: f64| 100.0 * share;
        write!(
            f,
            "{:+.1} points ({:+.1} to {:+.1}): {says}",
            points(self.value),
            points(self.value - self.half),
            points(self.value + self.half)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_covers_truth_at_its_level() {
        use scalequest_engine::training::rng::KeyedRng;
        let (mut share_holds, mut change_holds) = (0, 0);
        for trial in 0..1000 {
            let mut draws = KeyedRng::new(1, "interval", trial);
            let mut sample = |p: f64| Share::of((0..200).map(|_| draws.uniform() < p));
            let (before, after) = (sample(0.7), sample(0.8));
            let (low, high) = before.interval();
            share_holds += usize::from((low..high).contains(&0.7));
            let change = Change::between(before, after);
            change_holds += usize::from((change.value - 0.1).abs() <= change.half);
        }
        for holds in [share_holds, change_holds] {
            assert!((925..=975).contains(&holds), "{holds} of 1000");
        }
    }

    #[test]
    fn paired_change_needs_fewer_cases() {
        let paired = Change::paired(&[[1.0; 10].as_slice(), &[0.0; 190]].concat());
        let apart = Change::between(Share { hits: 140, of: 200 }, Share { hits: 150, of: 200 });
        assert!((paired.value - apart.value).abs() < 1e-9);
        assert!(paired.helps() && !apart.helps() && !apart.harms());
    }
}
