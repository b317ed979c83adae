//! The frame of the stages that work row by row: reads the shard's rows, has them worked on in batches, saves finished
//! batches so that a stopped shard goes on where it was, and commits. Rows are kept as the very bytes that are
//! committed, so that a resumed shard cannot differ from an uninterrupted one. It knows no stage.

use std::ops::Range;
use std::time::{Duration, Instant};

use scalequest_crds::progress::Progress;
use scalequest_crds::report::{Counts, Histogram};
use scalequest_crds::row::RejectRow;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StageError;
use super::finished_rows::{FinishedRows, Line};
use super::shard::{Base, Fate, Finished, Shard};
use crate::dataset::commit::ShardOutput;
use crate::stages::serving::Said;

/// Longest time between two saves: what a killed worker loses.
const BETWEEN_SAVES: Duration = Duration::from_secs(10);

/// A stage whose rows do not depend on each other.
pub trait RowStage: Sized {
    /// A row of work.
    type Row;
    /// What becomes of a row that goes on.
    type Kept: Serialize + DeserializeOwned;

    /// Loads what the work needs. Called once, and only where there is work left.
    ///
    /// # Errors
    /// The parameters are another stage's, or a model does not load.
    fn start(shard: &Shard<'_>) -> Result<Self, StageError>;

    /// Rows `rows`, by global number.
    ///
    /// # Errors
    /// An input cannot be read.
    fn read(shard: &Shard<'_>, rows: Range<i64>) -> Result<Vec<Self::Row>, StageError>;

    /// Does the work on some rows: a fate for each, in order.
    ///
    /// # Errors
    /// The arithmetic fails, or a stop was asked for. A row that cannot be worked on is a reject, not an error.
    fn work(&mut self, shard: &Shard<'_>, rows: Vec<Self::Row>) -> Result<Batch<Self::Kept>, StageError>;

    /// The arithmetic body.
    fn body(&self) -> String;

    /// Rows that are worked on together.
    fn rows_at_once(&self) -> i64 {
        32
    }

    /// Distributions over all rows of the shard.
    fn histograms(kept: &[&Self::Kept], rejects: &[&RejectRow]) -> Vec<Histogram>;
}

/// What came of some rows.
#[derive(Clone, Debug)]
pub struct Batch<T> {
    /// One for each row, in order.
    pub fates: Vec<Fate<T>>,
    /// Prompt tokens read.
    pub tokens_in: i64,
    /// Tokens made.
    pub tokens_out: i64,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Batch { fates: Vec::new(), tokens_in: 0, tokens_out: 0 }
    }
}

impl<T> Batch<T> {
    /// Counts the tokens of what was said to one prompt, and hands on the texts.
    pub fn count_said(&mut self, said: &super::serving::Answers) -> Vec<Said> {
        self.tokens_in += said.prompt_tokens;
        self.tokens_out += said.texts.iter().map(|said| i64::from(said.tokens)).sum::<i64>();
        said.texts.clone()
    }
}

/// Runs a shard of stage `S`.
///
/// # Errors
/// What the stage's steps return; a stop, with everything finished so far saved.
pub fn run_shard<S: RowStage>(shard: &Shard<'_>) -> Result<Finished, StageError> {
    let mut finished = FinishedRows::load(shard)?;
    let todo = finished.end..shard.range.end;
    if !todo.is_empty() {
        shard.progressing.begin("read rows");
        let rows = S::read(shard, todo.clone())?;
        shard.stop.check()?;
        let mut stage = S::start(shard)?;
        finished.body = stage.body();
        let worked = work_through(&mut stage, shard, rows, &mut finished);
        if worked == Err(StageError::Stopped) {
            finished.save(shard)?;
        }
        worked?;
    }
    commit::<S>(shard, &finished)
}

fn work_through<S: RowStage>(
    stage: &mut S,
    shard: &Shard<'_>,
    rows: Vec<S::Row>,
    finished: &mut FinishedRows,
) -> Result<(), StageError> {
    let mut rows = rows.into_iter();
    let mut saved = Instant::now();
    let size = stage.rows_at_once().max(1);
    while finished.end < shard.range.end {
        say(shard, finished);
        shard.stop.check()?;
        // Batches end on a grid of global row numbers, so that a resumed shard forms the same ones.
        let end = (finished.end.div_euclid(size) * size + size).min(shard.range.end);
        let count = usize::try_from(end - finished.end).unwrap_or(0);
        let batch = stage.work(shard, rows.by_ref().take(count).collect())?;
        if batch.fates.len() != count {
            return Err(StageError::World(format!("internal error: {} fates for {count} rows", batch.fates.len())));
        }
        let lines = batch.fates.iter().filter_map(line).collect();
        finished.add(end, lines, batch.tokens_in, batch.tokens_out);
        if saved.elapsed() >= BETWEEN_SAVES && end < shard.range.end {
            finished.save(shard)?;
            saved = Instant::now();
        }
    }
    say(shard, finished);
    Ok(())
}

fn say(shard: &Shard<'_>, finished: &FinishedRows) {
    let (done, total) = (finished.end - shard.range.start, shard.range.end - shard.range.start);
    shard.base.set(Base { rows: done, tokens: finished.tokens() });
    shard.progressing.say(Progress { doing: shard.task.stage.slug().into(), done, total, tokens: finished.tokens(), loss: None });
}

/// A fate as the line that is committed.
fn line<T: Serialize>(fate: &Fate<T>) -> Option<Line> {
    // Rows are structs of strings and numbers: they always serialise.
    match fate {
        Fate::Kept(row) => Some(Line::Kept(serde_json::to_string(row).unwrap_or_default())),
        Fate::Rejected(row) => Some(Line::Rejected(serde_json::to_string(row).unwrap_or_default())),
        Fate::PassedOver => None,
    }
}

fn commit<S: RowStage>(shard: &Shard<'_>, finished: &FinishedRows) -> Result<Finished, StageError> {
    let kept: Vec<S::Kept> = finished.kept().map(parsed).collect::<Result<_, _>>()?;
    let rejects: Vec<RejectRow> = finished.rejects().map(parsed).collect::<Result<_, _>>()?;
    let (kept, rejects): (Vec<_>, Vec<_>) = (kept.iter().collect(), rejects.iter().collect());
    let mut counts = Counts {
        rows_in: shard.range.end - shard.range.start,
        rows_out: kept.len() as i64,
        tokens_in: finished.tokens_in,
        tokens_out: finished.tokens_out,
        ..Counts::default()
    };
    rejects.iter().for_each(|row| *counts.dropped.entry(row.reason).or_default() += 1);
    let mut output = ShardOutput::new(&finished.body)
        .table("rows", lines(finished.kept()))
        .table("rejects", lines(finished.rejects()))
        .counts(counts);
    for histogram in S::histograms(&kept, &rejects) {
        output = output.histogram(histogram);
    }
    let committed = shard.dir.commit(&shard.range, &output)?;
    finished.forget(shard);
    Ok(Finished::committed(committed))
}

fn parsed<T: DeserializeOwned>(line: &str) -> Result<T, StageError> {
    serde_json::from_str(line).map_err(|error| StageError::World(format!("internal error: a row does not read back: {error}")))
}

fn lines<'a>(rows: impl Iterator<Item = &'a str>) -> Vec<u8> {
    rows.flat_map(|row| row.bytes().chain([b'\n'])).collect()
}
