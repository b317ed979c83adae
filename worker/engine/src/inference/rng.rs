//! The counter-based random number generator of sampling: each number is a function of its key, so that neither batches nor restarts nor
//! the order of work can change one.

use sha2::{Digest, Sha256};

/// A counter-based random number generator for the samples of one stage of one run.
///
/// A number is the first eight bytes, little-endian, of the SHA-256 of: the seed (8 bytes, little-endian), the
/// key in UTF-8, one zero byte, the sample id and the position (8 bytes each, little-endian). This
/// never changes; published datasets depend on it.
#[derive(Clone, Debug)]
pub struct CounterRng {
    keyed: Sha256,
}

impl CounterRng {
    /// Creates the generator of a key (`generate`, `respond`, ...) in a run with this seed.
    pub fn new(seed: u64, key: &str) -> Self {
        let mut keyed = Sha256::new();
        keyed.update(seed.to_le_bytes());
        keyed.update(key.as_bytes());
        keyed.update([0]);
        Self { keyed }
    }

    /// Returns 64 uniform bits for one position of one sample.
    pub fn bits(&self, sample: u64, position: u64) -> u64 {
        let mut hasher = self.keyed.clone();
        hasher.update(sample.to_le_bytes());
        hasher.update(position.to_le_bytes());
        let digest = hasher.finalize();
        u64::from_le_bytes(digest[..8].try_into().expect("eight of thirty-two bytes"))
    }

    /// Returns a number uniform in [0, 1), of 53 bits, for one position of one sample.
    pub fn uniform(&self, sample: u64, position: u64) -> f64 {
        (self.bits(sample, position) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::CounterRng;

    #[test]
    fn generator_is_pinned() {
        // sha256(2a00000000000000 "generate" 00 0700000000000000 0300000000000000), computed elsewhere.
        assert_eq!(
            CounterRng::new(42, "generate").bits(7, 3),
            0x49fd13671f489bbf
        );
    }

    #[test]
    fn numbers_are_uniform_and_keyed() {
        let rng = CounterRng::new(1, "generate");
        let mean = (0..20_000)
            .map(|sample| rng.uniform(sample, 0))
            .sum::<f64>()
            / 20_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        let others = [
            CounterRng::new(2, "generate").bits(0, 0),
            CounterRng::new(1, "respond").bits(0, 0),
        ];
        let all = [
            rng.bits(0, 0),
            rng.bits(1, 0),
            rng.bits(0, 1),
            others[0],
            others[1],
        ];
        assert_eq!(
            all.iter().collect::<std::collections::BTreeSet<_>>().len(),
            all.len()
        );
    }
}
