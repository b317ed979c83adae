//! The frame of the stages whose rows are independent: reads the shard's rows, processes them in batches, saves finished rows
//! so that a stopped shard resumes after them, and commits. Rows are saved as the very bytes that are committed, so a resumed
//! shard cannot differ from an uninterrupted one. It knows no stage.

use std::ops::Range;
use std::time::{Duration, Instant};

use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::protocol::report::{Counts, Histogram};
use scalequest_crds::protocol::rows::RejectRow;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StageError;
use super::row_checkpoint::{EncodedRow, RowCheckpoint};
use super::row_outcome::RowOutcome;
use super::shard::{ProgressBase, Shard, StageResult};
use crate::storage::commit::ShardOutput;

/// Maximum time between two saves: the most that a killed worker loses.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);

/// A stage whose rows do not depend on each other.
pub trait RowStage: Sized {
    /// An input row.
    type Row;
    /// A row of the table `rows`.
    type Output: Serialize + DeserializeOwned;

    /// Rows that are processed together. It changes speed and memory, never a result.
    const BATCH_ROWS: i64;

    /// Loads what processing these rows needs. Called once, and only if rows are left to process.
    ///
    /// # Errors
    /// The parameters are another stage's, or a model does not load.
    fn start(shard: &Shard<'_>, rows: &[Self::Row]) -> Result<Self, StageError>;

    /// Reads rows `rows`, by global number.
    ///
    /// # Errors
    /// An input cannot be read.
    fn read(shard: &Shard<'_>, rows: Range<i64>) -> Result<Vec<Self::Row>, StageError>;

    /// Processes a batch: pushes one outcome for each row to `sink`, in order, as soon as it is known.
    ///
    /// # Errors
    /// The computation fails, or the task is cancelled. A row that cannot be processed is a reject, not an error.
    fn process(
        &mut self,
        shard: &Shard<'_>,
        rows: &[Self::Row],
        sink: &mut RowSink<'_>,
    ) -> Result<(), StageError>;

    /// Returns the name of the compute backend; `None` if these rows need no model.
    fn compute_backend(&self) -> Option<String>;

    /// Returns distributions over all rows of the shard.
    fn histograms(accepted: &[&Self::Output], rejects: &[&RejectRow]) -> Vec<Histogram>;
}

/// Collects the outcomes of rows as they become known, and saves them from time to time.
pub struct RowSink<'a> {
    shard: &'a Shard<'a>,
    checkpoint: &'a mut RowCheckpoint,
    saved_at: &'a mut Instant,
    error: Option<StageError>,
}

impl RowSink<'_> {
    /// Adds the outcome of the next row, with its prompt tokens and generated tokens.
    pub fn push<T: Serialize>(&mut self, outcome: &RowOutcome<T>, tokens_in: i64, tokens_out: i64) {
        let end = self.checkpoint.end + 1;
        self.checkpoint
            .add(end, encode(outcome), tokens_in, tokens_out);
        let is_last = end == self.shard.range.end;
        if self.saved_at.elapsed() >= SAVE_INTERVAL && !is_last && self.error.is_none() {
            self.error = self.checkpoint.save(self.shard).err();
            *self.saved_at = Instant::now();
        }
    }

    /// Adds `count` rows that are no rows of this stage.
    pub fn skip(&mut self, count: usize) {
        (0..count).for_each(|_| self.push(&RowOutcome::<()>::Skipped, 0, 0));
    }
}

/// Runs a shard of stage `S`.
///
/// # Errors
/// What the stage's steps return. If the task is cancelled, all finished rows are saved first.
pub fn run_row_stage<S: RowStage>(shard: &Shard<'_>) -> Result<StageResult, StageError> {
    let mut checkpoint = RowCheckpoint::load(shard)?;
    let remaining = checkpoint.end..shard.range.end;
    if !remaining.is_empty() {
        shard.reporter.set_activity("read rows");
        let rows = S::read(shard, remaining)?;
        shard.cancellation.check()?;
        let mut stage = S::start(shard, &rows)?;
        if let Some(compute_backend) = stage.compute_backend() {
            checkpoint.compute_backend = compute_backend;
        }
        let processed = process_batches(&mut stage, shard, &rows, &mut checkpoint);
        if processed == Err(StageError::Stopped) {
            checkpoint.save(shard)?;
        }
        processed?;
    }
    commit::<S>(shard, &checkpoint)
}

fn process_batches<S: RowStage>(
    stage: &mut S,
    shard: &Shard<'_>,
    rows: &[S::Row],
    checkpoint: &mut RowCheckpoint,
) -> Result<(), StageError> {
    let mut saved_at = Instant::now();
    for batch in rows.chunks(usize::try_from(S::BATCH_ROWS).unwrap_or(1).max(1)) {
        report_progress(shard, checkpoint);
        shard.cancellation.check()?;
        let end = checkpoint.end + batch.len() as i64;
        let mut sink = RowSink {
            shard,
            checkpoint,
            saved_at: &mut saved_at,
            error: None,
        };
        let processed = stage.process(shard, batch, &mut sink);
        sink.error.map_or(Ok(()), Err)?;
        processed?;
        if checkpoint.end != end {
            return Err(StageError::Unexpected(format!(
                "internal error: rows up to {end} were processed, but outcomes end at {}",
                checkpoint.end
            )));
        }
    }
    report_progress(shard, checkpoint);
    Ok(())
}

fn report_progress(shard: &Shard<'_>, checkpoint: &RowCheckpoint) {
    let done = checkpoint.end - shard.range.start;
    shard.progress_base.set(ProgressBase {
        rows: done,
        tokens: checkpoint.tokens(),
    });
    shard.reporter.report(Progress {
        activity: shard.task.id.stage.slug().into(),
        done,
        total: shard.range.end - shard.range.start,
        tokens: checkpoint.tokens(),
        loss: None,
    });
}

/// Encodes an outcome as the row that is committed; `None` for a skipped row.
fn encode<T: Serialize>(outcome: &RowOutcome<T>) -> Option<EncodedRow> {
    // Rows are structs of strings and numbers: they always serialise.
    match outcome {
        RowOutcome::Accepted(row) => Some(EncodedRow::Accepted(
            serde_json::to_string(row).unwrap_or_default(),
        )),
        RowOutcome::Rejected(row) => Some(EncodedRow::Rejected(
            serde_json::to_string(row).unwrap_or_default(),
        )),
        RowOutcome::Skipped => None,
    }
}

fn commit<S: RowStage>(
    shard: &Shard<'_>,
    checkpoint: &RowCheckpoint,
) -> Result<StageResult, StageError> {
    let accepted: Vec<S::Output> = checkpoint
        .accepted()
        .map(decode)
        .collect::<Result<_, _>>()?;
    let rejects: Vec<RejectRow> = checkpoint.rejects().map(decode).collect::<Result<_, _>>()?;
    let (accepted, rejects): (Vec<_>, Vec<_>) =
        (accepted.iter().collect(), rejects.iter().collect());
    let mut counts = Counts {
        rows_in: shard.range.end - shard.range.start,
        rows_out: accepted.len() as i64,
        tokens_in: checkpoint.tokens_in,
        tokens_out: checkpoint.tokens_out,
        ..Counts::default()
    };
    rejects
        .iter()
        .for_each(|row| *counts.dropped.entry(row.reason).or_default() += 1);
    let mut output = ShardOutput::new(&checkpoint.compute_backend)
        .table("rows", to_lines(checkpoint.accepted()))
        .table("rejects", to_lines(checkpoint.rejects()))
        .counts(counts);
    for histogram in S::histograms(&accepted, &rejects) {
        output = output.histogram(histogram);
    }
    let committed = shard.dir.commit(&shard.range, &output)?;
    checkpoint.delete(shard);
    Ok(StageResult::committed(committed))
}

fn decode<T: DeserializeOwned>(row: &str) -> Result<T, StageError> {
    serde_json::from_str(row).map_err(|error| {
        StageError::Unexpected(format!(
            "internal error: a saved row cannot be read: {error}"
        ))
    })
}

fn to_lines<'a>(rows: impl Iterator<Item = &'a str>) -> Vec<u8> {
    rows.flat_map(|row| row.bytes().chain([b'\n'])).collect()
}
