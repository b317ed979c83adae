//! Keeps the record small: of waves that are over, only what later stages need of their seals (keys, digests, row counts) and the sums
//! of their counts. Waves are compacted oldest first, and only where the record would otherwise grow past its bound.

use scalequest_crds::Stage;
use scalequest_crds::report::Counts;
use serde::{Deserialize, Serialize};

use super::{RECORD_MAX_BYTES, RunRecord};

/// Size from which waves that are over are compacted.
const COMPACT_FROM: usize = RECORD_MAX_BYTES * 3 / 4;

/// Most bytes of a stage that is under way or just sealed, without its distributions, which are dropped where there is no room.
pub(crate) const STAGE_BYTES: usize = 640;

/// The seal of a stage of a compacted wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastSeal(
    /// The stage.
    pub Stage,
    /// The generator, if per generator.
    pub Option<String>,
    /// The wave.
    pub i32,
    /// Content key.
    pub String,
    /// Digest of its content.
    pub String,
    /// Rows of its table `rows`.
    pub i64,
    /// Rows in a shard.
    pub i64,
);

impl RunRecord {
    /// Compacts waves that are over, oldest first, until the record is small enough or none is left.
    pub(super) fn compact(&mut self) {
        while self.to_json().len() > COMPACT_FROM {
            let oldest = self.stages.iter().filter_map(|stage| stage.wave).min();
            let is_over = |wave: i32| {
                self.waves
                    .iter()
                    .any(|known| known.wave == wave && known.end.is_some())
            };
            match oldest.filter(|wave| is_over(*wave)) {
                Some(wave) => self.compact_wave(wave),
                None if !self.drop_histograms() => return,
                None => {}
            }
        }
    }

    /// Whether the record has room for another wave.
    pub fn has_room_for_a_wave(&self) -> bool {
        let room = STAGE_BYTES * (6 + self.spec.generators.len());
        if self.to_json().len() + room <= COMPACT_FROM {
            return true;
        }
        let mut small = self.clone();
        let over: Vec<i32> = small
            .waves
            .iter()
            .filter(|wave| wave.end.is_some())
            .map(|wave| wave.wave)
            .collect();
        over.into_iter().for_each(|wave| small.compact_wave(wave));
        small.drop_histograms();
        small.to_json().len() + room <= RECORD_MAX_BYTES
    }

    fn compact_wave(&mut self, wave: i32) {
        let (old, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.stages)
            .into_iter()
            .partition(|stage| stage.wave == Some(wave));
        self.stages = kept;
        for stage in old {
            let Some(seal) = stage.seal else { continue };
            let Counts {
                dropped,
                tokens_in,
                tokens_out,
                ..
            } = seal.counts;
            self.past_counts.add(&Counts {
                rows_in: 0,
                rows_out: 0,
                dropped,
                tokens_in,
                tokens_out,
            });
            self.past.push(PastSeal(
                stage.stage,
                stage.generator,
                wave,
                stage.key,
                seal.digest,
                seal.rows,
                stage.shard_rows,
            ));
        }
    }

    /// Drops the distributions of all stages; whether there were any.
    fn drop_histograms(&mut self) -> bool {
        let mut any = false;
        for seal in self
            .stages
            .iter_mut()
            .filter_map(|stage| stage.seal.as_mut())
        {
            any |= !std::mem::take(&mut seal.histograms).is_empty();
        }
        any
    }
}
