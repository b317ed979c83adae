//! One shard of a stage in the making: what to do, where its input lies and where its output goes; and what every stage says
//! at its end.

use std::cell::{Cell, OnceCell};
use std::ops::Range;

use scalequest_crds::protocol::manifest::{Seal, ShardManifest};
use scalequest_crds::protocol::report::{Counts, Histogram, Outcome};
use scalequest_crds::protocol::rows::{QuestionRow, RejectRow};
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::RejectReason;
use serde::de::DeserializeOwned;

use super::models::Held;
use super::{Progressing, StageError, Stop, bounds};
use crate::storage::store::Store;
use crate::storage::table::read_rows;
use crate::storage::workspace::StageDir;

/// One shard of a stage in the making.
pub struct Shard<'a> {
    /// The task.
    pub task: &'a StageTask,
    /// Index of the shard.
    pub index: i64,
    /// Its global rows.
    pub range: Range<i64>,
    /// The workspace.
    pub store: Store,
    /// Where its output goes.
    pub dir: StageDir,
    /// Whether to stop.
    pub stop: &'a Stop,
    /// Where to say how far it is.
    pub progressing: &'a Progressing,
    /// The trained model in use, if there is one.
    pub model: OnceCell<Held>,
    /// How far the shard was when the step under way began; for progress only.
    pub base: Cell<Base>,
}

/// How far a shard is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// Rows finished.
    pub rows: i64,
    /// Tokens read and made.
    pub tokens: i64,
}

/// What a stage says at its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// How it ended.
    pub outcome: Outcome,
    /// What was counted.
    pub counts: Counts,
    /// Distributions.
    pub histograms: Vec<Histogram>,
    /// Arithmetic bodies of a sealed stage.
    pub bodies: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl Finished {
    /// An end of which nothing was counted.
    pub fn with(outcome: Outcome) -> Self {
        Finished {
            outcome,
            counts: Counts::default(),
            histograms: Vec::new(),
            bodies: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The end of a committed shard.
    pub fn committed((manifest, reused): (ShardManifest, bool)) -> Self {
        let ShardManifest {
            counts, histograms, ..
        } = manifest;
        Finished {
            outcome: Outcome::Done { reused },
            counts,
            histograms,
            bodies: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate<T> {
    /// It goes on.
    Kept(T),
    /// It was dropped.
    Rejected(RejectRow),
    /// It is no row of this stage (a seed question without an answer, where answers are compared).
    PassedOver,
}

impl<'a> Shard<'a> {
    /// Shard `index` of `task`, with its workspace opened.
    ///
    /// # Errors
    /// The task has no such shard, the workspace cannot be opened, or a stop was asked for.
    pub fn open(
        task: &'a StageTask,
        index: i64,
        stop: &'a Stop,
        progressing: &'a Progressing,
    ) -> Result<Self, StageError> {
        if !(0..task.shards()).contains(&index) {
            return Err(StageError::Task(format!(
                "stage {} has {} shards, there is no shard {index}",
                task.stage,
                task.shards()
            )));
        }
        stop.check()?;
        let store = Store::open(&task.workspace)?;
        Ok(Shard {
            task,
            index,
            range: task.range(index),
            dir: StageDir::of(&store, task),
            store,
            stop,
            progressing,
            model: OnceCell::new(),
            base: Cell::new(Base::default()),
        })
    }
}

impl Shard<'_> {
    /// Opens input `index` of the task.
    ///
    /// # Errors
    /// There is no such input, or its seal is gone, damaged or of other content.
    pub fn input(&self, index: usize) -> Result<(StageDir, Seal), StageError> {
        let input = self.task.inputs.get(index).ok_or_else(|| {
            StageError::Task(format!(
                "stage {} needs {} inputs, the task has {}",
                self.task.stage,
                index + 1,
                self.task.inputs.len()
            ))
        })?;
        Ok(StageDir::input(&self.store, input)?)
    }

    /// Rows `range` of a table of input `index`.
    ///
    /// # Errors
    /// As [`Shard::input`]; an object is damaged; or the input has fewer rows than the task says.
    pub fn read_input<T: DeserializeOwned>(
        &self,
        index: usize,
        table: &str,
        range: Range<i64>,
    ) -> Result<Vec<T>, StageError> {
        let (dir, seal) = self.input(index)?;
        let rows = read_rows(&dir, &seal, table, range.clone())?;
        if rows.len() as i64 != range.end - range.start {
            let has = seal.rows.get(table).copied().unwrap_or(0);
            return Err(StageError::Task(format!(
                "the task reads rows {}..{} of {}, which has {has}: it belongs to another input",
                range.start, range.end, seal.stage
            )));
        }
        Ok(rows)
    }
}

/// The error of a task whose parameters are another stage's.
pub fn wrong_params(shard: &Shard<'_>) -> StageError {
    StageError::Task(format!(
        "stage {} has the parameters of {}",
        shard.task.stage,
        shard.task.params.stage()
    ))
}

/// A question that is dropped by this stage, and what led to it.
pub fn reject<T>(
    shard: &Shard<'_>,
    reason: RejectReason,
    question: QuestionRow,
    detail: &str,
) -> Fate<T> {
    let detail = Some(bounds::detail(detail)).filter(|detail| !detail.is_empty());
    Fate::Rejected(RejectRow {
        stage: shard.task.stage,
        reason,
        question,
        detail,
        responses: Vec::new(),
    })
}
