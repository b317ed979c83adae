//! How many rows make a shard: about a quarter of an hour of work by the rates on record, so that loading a model stays a small part of
//! a worker's life and losing one costs little. Shards decide nothing about the rows: any cut gives the same bytes.

use scalequest_crds::v1alpha1::Stage;

use crate::record::RunRecord;

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
