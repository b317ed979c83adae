//! Random draws of the stages, keyed by (run seed, stage, purpose, id): the same in every execution, shard and batch.

use scalequest_crds::Stage;
use sha2::{Digest, Sha256};

/// 64 random bits for one purpose of one row. Also serves as the seed of a row's token draws.
pub fn draw(seed: i64, stage: Stage, purpose: &str, id: i64) -> u64 {
    let mut hash = Sha256::new();
    for part in [stage.slug().as_bytes(), purpose.as_bytes()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(seed.to_le_bytes());
    hash.update(id.to_le_bytes());
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_depends_on_every_part_of_its_key() {
        let first = draw(1, Stage::Sample, "a", 2);
        assert_eq!(first, draw(1, Stage::Sample, "a", 2));
        for other in [draw(2, Stage::Sample, "a", 2), draw(1, Stage::Generate, "a", 2), draw(1, Stage::Sample, "b", 2), draw(1, Stage::Sample, "a", 3)] {
            assert_ne!(first, other);
        }
    }
}
