//! The frame of the stages that work row by row: reads the shard's rows, has them worked on in batches, saves finished
//! batches so that a stopped shard goes on where it was, and commits. Rows are kept as the very bytes that are
//! committed, so that a resumed shard cannot differ from an uninterrupted one. It knows no stage.

use std::ops::Range;
use std::time::{Duration, Instant};

use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::protocol::report::{Counts, Histogram};
use scalequest_crds::protocol::rows::RejectRow;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StageError;
use super::finished_rows::{FinishedRows, Line};
use super::shard::{Base, Fate, Finished, Shard};
use crate::storage::commit::ShardOutput;

/// Longest time between two saves: what a killed worker loses.
const BETWEEN_SAVES: Duration = Duration::from_secs(10);

/// A stage whose rows do not depend on each other.
pub trait RowStage: Sized {
    /// A row of work.
    type Row;
    /// What becomes of a row that goes on.
    type Kept: Serialize + DeserializeOwned;

    /// Rows that are worked on together. It changes speed and memory, never a result.
    const ROWS_AT_ONCE: i64;

    /// Loads what the work on these rows needs. Called once, and only where there is work left.
    ///
    /// # Errors
    /// The parameters are another stage's, or a model does not load.
    fn start(shard: &Shard<'_>, rows: &[Self::Row]) -> Result<Self, StageError>;

    /// Rows `rows`, by global number.
    ///
    /// # Errors
    /// An input cannot be read.
    fn read(shard: &Shard<'_>, rows: Range<i64>) -> Result<Vec<Self::Row>, StageError>;

    /// Does the work on some rows: gives `fates` one for each, in order, as soon as it is known.
    ///
    /// # Errors
    /// The arithmetic fails, or a stop was asked for. A row that cannot be worked on is a reject, not an error.
    fn work(
        &mut self,
        shard: &Shard<'_>,
        rows: &[Self::Row],
        fates: &mut Fates<'_>,
    ) -> Result<(), StageError>;

    /// The arithmetic body; none where these rows need no model.
    fn body(&self) -> Option<String>;

    /// Distributions over all rows of the shard.
    fn histograms(kept: &[&Self::Kept], rejects: &[&RejectRow]) -> Vec<Histogram>;
}

/// Takes the fates of rows as they become known, and saves them every now and then.
pub struct Fates<'a> {
    shard: &'a Shard<'a>,
    finished: &'a mut FinishedRows,
    saved: &'a mut Instant,
    failed: Option<StageError>,
}

impl Fates<'_> {
    /// The fate of the next row, with the prompt tokens read and the tokens made for it.
    pub fn push<T: Serialize>(&mut self, fate: &Fate<T>, tokens_in: i64, tokens_out: i64) {
        self.finished
            .add(self.finished.end + 1, line(fate), tokens_in, tokens_out);
        let last = self.finished.end == self.shard.range.end;
        if self.saved.elapsed() >= BETWEEN_SAVES && !last && self.failed.is_none() {
            self.failed = self.finished.save(self.shard).err();
            *self.saved = Instant::now();
        }
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
        let mut stage = S::start(shard, &rows)?;
        if let Some(body) = stage.body() {
            finished.body = body;
        }
        let worked = work_through(&mut stage, shard, &rows, &mut finished);
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
    rows: &[S::Row],
    finished: &mut FinishedRows,
) -> Result<(), StageError> {
    let mut saved = Instant::now();
    for rows in rows.chunks(usize::try_from(S::ROWS_AT_ONCE).unwrap_or(1).max(1)) {
        say(shard, finished);
        shard.stop.check()?;
        let end = finished.end + rows.len() as i64;
        let mut fates = Fates {
            shard,
            finished,
            saved: &mut saved,
            failed: None,
        };
        let worked = stage.work(shard, rows, &mut fates);
        fates.failed.map_or(Ok(()), Err)?;
        worked?;
        if finished.end != end {
            return Err(StageError::World(format!(
                "internal error: rows up to {end} were worked on, and {} have a fate",
                finished.end
            )));
        }
    }
    say(shard, finished);
    Ok(())
}

fn say(shard: &Shard<'_>, finished: &FinishedRows) {
    let (done, total) = (
        finished.end - shard.range.start,
        shard.range.end - shard.range.start,
    );
    shard.base.set(Base {
        rows: done,
        tokens: finished.tokens(),
    });
    shard.progressing.say(Progress {
        doing: shard.task.stage.slug().into(),
        done,
        total,
        tokens: finished.tokens(),
        loss: None,
    });
}

/// A fate as the line that is committed.
fn line<T: Serialize>(fate: &Fate<T>) -> Option<Line> {
    // Rows are structs of strings and numbers: they always serialise.
    match fate {
        Fate::Kept(row) => Some(Line::Kept(serde_json::to_string(row).unwrap_or_default())),
        Fate::Rejected(row) => Some(Line::Rejected(
            serde_json::to_string(row).unwrap_or_default(),
        )),
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
    rejects
        .iter()
        .for_each(|row| *counts.dropped.entry(row.reason).or_default() += 1);
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
    serde_json::from_str(line).map_err(|error| {
        StageError::World(format!("internal error: a row does not read back: {error}"))
    })
}

fn lines<'a>(rows: impl Iterator<Item = &'a str>) -> Vec<u8> {
    rows.flat_map(|row| row.bytes().chain([b'\n'])).collect()
}
