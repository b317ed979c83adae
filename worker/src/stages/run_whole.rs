//! The frame of the stages that look at all rows of a wave at once and are quick: no shards, no saves between.

use scalequest_crds::protocol::report::{Counts, Histogram};
use scalequest_crds::protocol::rows::RejectRow;
use serde::Serialize;

use super::StageError;
use super::shard::{Fate, Finished, Shard};
use crate::storage::commit::ShardOutput;
use crate::storage::table::encode_rows;

/// Commits what became of all rows of a stage without a model.
///
/// # Errors
/// The workspace fails, or a stop was asked for.
pub fn run_whole<T: Serialize>(
    shard: &Shard<'_>,
    fates: Vec<Fate<T>>,
    histograms: impl Fn(&[&T], &[&RejectRow]) -> Vec<Histogram>,
) -> Result<Finished, StageError> {
    shard.stop.check()?;
    let (mut kept, mut rejects) = (Vec::new(), Vec::new());
    for fate in &fates {
        match fate {
            Fate::Kept(row) => kept.push(row),
            Fate::Rejected(row) => rejects.push(row),
            Fate::PassedOver => {}
        }
    }
    let mut counts = Counts {
        rows_in: shard.range.end - shard.range.start,
        rows_out: kept.len() as i64,
        ..Counts::default()
    };
    rejects
        .iter()
        .for_each(|row| *counts.dropped.entry(row.reason).or_default() += 1);
    let mut output = ShardOutput::new("none")
        .table("rows", encode_rows(kept.iter().copied()))
        .table("rejects", encode_rows(rejects.iter().copied()))
        .counts(counts);
    for histogram in histograms(&kept, &rejects) {
        output = output.histogram(histogram);
    }
    Ok(Finished::committed(
        shard.dir.commit(&shard.range, &output)?,
    ))
}
