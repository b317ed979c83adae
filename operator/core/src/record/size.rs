//! Maximum size of a record: half of the 1 MiB that a ConfigMap holds. A record is never compacted: a run whose record is full ends.

use super::RunRecord;

/// Maximum size of a record in bytes, as compact JSON. The largest record of 64 waves and 8 generators is smaller, see the test below.
pub const RECORD_MAX_BYTES: usize = 512 * 1024;

/// Maximum size of what a wave, a publication, failures and corruptions add to a record.
const WAVE_BYTES: usize = 16 * 1024;

impl RunRecord {
    /// Whether another wave fits into the record.
    pub fn has_room_for_wave(&self) -> bool {
        self.to_json().len() + WAVE_BYTES <= RECORD_MAX_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use scalequest_crds::protocol::report::Counts;
    use scalequest_crds::v1alpha1::{RejectReason, Stage, StageId};

    use super::*;
    use crate::plan::chain::{setup, wave_stages};
    use crate::plan::simulation::{FakeRun, accepted, run};
    use crate::record::{AttemptCounts, SealRecord, StageRecord, WaveEnd, WaveRecord};

    /// Rows of a wave: the maximum for a target of a million pairs.
    const ROWS: i64 = 8_000_000;

    /// Returns a sealed stage with a generator's longest name and large counts.
    fn sealed(position: StageId) -> StageRecord {
        let reasons: &[RejectReason] = match position.stage {
            Stage::Generate => &[
                RejectReason::Empty,
                RejectReason::Unfinished,
                RejectReason::ShardRetriesExhausted,
            ],
            Stage::Filter => &[
                RejectReason::Language,
                RejectReason::Contaminated,
                RejectReason::ExactDuplicate,
                RejectReason::NearDuplicate,
                RejectReason::ShardRetriesExhausted,
            ],
            _ => &[
                RejectReason::PromptTooLong,
                RejectReason::Refused,
                RejectReason::NoVerdict,
                RejectReason::ShardRetriesExhausted,
            ],
        };
        let dropped: BTreeMap<RejectReason, i64> =
            reasons.iter().map(|each| (*each, ROWS)).collect();
        StageRecord {
            id: StageId {
                generator: position.generator.map(|name| format!("{name:g<40}")),
                ..position
            },
            key: "k".repeat(64),
            work: ROWS,
            shard_rows: 65_536,
            worker_millis: 1_000_000_000,
            gpu_millis: 1_000_000_000,
            attempts: AttemptCounts::default(),
            computed: true,
            seal: Some(SealRecord {
                digest: "d".repeat(64),
                rows: ROWS,
                reused: false,
                counts: Counts {
                    rows_in: ROWS,
                    rows_out: ROWS,
                    dropped,
                    tokens_in: 4_000_000_000,
                    tokens_out: 4_000_000_000,
                },
            }),
        }
    }

    #[test]
    fn largest_record_fits() {
        let run = run(&FakeRun {
            generators: vec![(1, true, true); 8],
            max_waves: 64,
            ..FakeRun::default()
        });
        let mut record = accepted(&run);
        record
            .stages
            .extend(setup(run.method()).into_iter().map(sealed));
        let mut largest_wave = 0;
        for wave in 1..=64 {
            let before = record.to_json().len();
            assert!(record.has_room_for_wave(), "wave {wave}");
            let wave = WaveRecord {
                wave,
                first_id: i64::from(wave) * ROWS,
                questions: vec![ROWS / 8; 8],
                end: Some(WaveEnd {
                    generated: ROWS,
                    accepted: ROWS,
                }),
            };
            let positions = wave_stages(run.method(), &wave);
            record.stages.extend(positions.into_iter().map(sealed));
            record.waves.push(wave);
            largest_wave = largest_wave.max(record.to_json().len() - before);
        }
        let bytes = record.to_json().len();
        // docs/cluster.md names the size.
        assert!((480..496).contains(&(bytes / 1024)), "{bytes} bytes");
        assert!(largest_wave * 2 < WAVE_BYTES, "{largest_wave} bytes");
    }
}
