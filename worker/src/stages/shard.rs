//! One shard of a stage while it runs: its task, its inputs and its output; and the result that every stage returns.

use std::cell::{Cell, OnceCell};
use std::ops::Range;

use scalequest_crds::protocol::manifest::{Seal, ShardManifest};
use scalequest_crds::protocol::report::{Counts, Histogram, Outcome};
use scalequest_crds::protocol::task::StageTask;
use serde::de::DeserializeOwned;

use super::model_files::ModelFiles;
use super::{CancellationToken, ProgressReporter, StageError};
use crate::storage::store::Store;
use crate::storage::table::read_rows;
use crate::storage::workspace::StageDir;

/// One shard of a stage while it runs.
pub struct Shard<'a> {
    /// The task.
    pub task: &'a StageTask,
    /// Index of the shard.
    pub index: i64,
    /// Its global rows.
    pub range: Range<i64>,
    /// The workspace.
    pub store: Store,
    /// The stage's directory, to which output is committed.
    pub dir: StageDir,
    /// Whether to stop.
    pub cancellation: &'a CancellationToken,
    /// Reports progress.
    pub reporter: &'a ProgressReporter,
    /// The files of the trained model in use, if any.
    pub model_files: OnceCell<ModelFiles>,
    /// Progress at the start of the current batch; for display only.
    pub progress_base: Cell<ProgressBase>,
}

/// Progress of a shard before the current batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgressBase {
    /// Finished rows.
    pub rows: i64,
    /// Prompt tokens and generated tokens.
    pub tokens: i64,
}

/// The result of a stage or of one of its shards.
#[derive(Clone, Debug, PartialEq)]
pub struct StageResult {
    /// The outcome.
    pub outcome: Outcome,
    /// Rows and tokens.
    pub counts: Counts,
    /// Distributions.
    pub histograms: Vec<Histogram>,
    /// Compute backends of a sealed stage.
    pub compute_backends: Vec<String>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

impl StageResult {
    /// Creates a result without counts.
    pub fn new(outcome: Outcome) -> Self {
        StageResult {
            outcome,
            counts: Counts::default(),
            histograms: Vec::new(),
            compute_backends: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Creates the result of a committed shard, whether it was committed now or before (`reused`).
    pub fn committed((manifest, reused): (ShardManifest, bool)) -> Self {
        let ShardManifest {
            counts, histograms, ..
        } = manifest;
        StageResult {
            outcome: Outcome::Done { reused },
            counts,
            histograms,
            compute_backends: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

impl<'a> Shard<'a> {
    /// Opens shard `index` of `task` and its workspace.
    ///
    /// # Errors
    /// The task has no such shard, the workspace cannot be opened, or the task is cancelled.
    pub fn open(
        task: &'a StageTask,
        index: i64,
        cancellation: &'a CancellationToken,
        reporter: &'a ProgressReporter,
    ) -> Result<Self, StageError> {
        if !(0..task.shards()).contains(&index) {
            return Err(StageError::Permanent(format!(
                "stage {} has {} shards, there is no shard {index}",
                task.id.stage,
                task.shards()
            )));
        }
        cancellation.check()?;
        let store = Store::open(&task.workspace)?;
        Ok(Shard {
            task,
            index,
            range: task.range(index),
            dir: StageDir::for_task(&store, task),
            store,
            cancellation,
            reporter,
            model_files: OnceCell::new(),
            progress_base: Cell::new(ProgressBase::default()),
        })
    }
}

impl Shard<'_> {
    /// Opens input `index` of the task.
    ///
    /// # Errors
    /// There is no such input, or its seal is gone, corrupt or of other content.
    pub fn input(&self, index: usize) -> Result<(StageDir, Seal), StageError> {
        let input = self.task.inputs.get(index).ok_or_else(|| {
            StageError::Permanent(format!(
                "stage {} needs {} inputs, the task has {}",
                self.task.id.stage,
                index + 1,
                self.task.inputs.len()
            ))
        })?;
        Ok(StageDir::open_input(&self.store, input)?)
    }

    /// Reads rows `range` of a table of input `index`.
    ///
    /// # Errors
    /// As [`Shard::input`]; an object is corrupt; or the input has fewer rows than the task says.
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
            return Err(StageError::Permanent(format!(
                "the task reads rows {}..{} of {}, which has {has}: it belongs to another input",
                range.start, range.end, seal.stage
            )));
        }
        Ok(rows)
    }
}

/// Returns the error for a task with the parameters of another stage.
pub fn wrong_params(shard: &Shard<'_>) -> StageError {
    StageError::Permanent(format!(
        "stage {} has the parameters of {}",
        shard.task.id.stage,
        shard.task.params.stage()
    ))
}
