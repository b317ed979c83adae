//! A stage task: everything that a worker needs for one stage of a run, resolved. The operator writes it (a file on one machine; in a
//! cluster an annotation of its pods, or a ConfigMap if it is large), `scalequest-worker` reads it.

mod model;
mod params;
mod publication;

pub use model::{
    Endpoint, HubFiles, ModelLocation, ModelServer, ModelUse, SERVED_MODEL, SERVER_URL,
};
pub use params::{ContaminationParams, DuplicateParams, QuestionFile, StageParams, Training};
pub use publication::{Publication, PublishedModel, StageCost};

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::v1alpha1::StageId;

/// The version of this contract. A worker rejects a task of another version.
pub const TASK_VERSION: u32 = 2;

/// One stage of one run: its inputs, its parameters and its output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageTask {
    /// [`TASK_VERSION`] of the writer.
    pub version: u32,
    /// Name of the run, for logs and the dataset card.
    pub run: String,
    /// Which stage of the run it is.
    #[serde(flatten)]
    pub id: StageId,
    /// Content key of the output (64 hex digits).
    pub key: String,
    /// The run's seed.
    pub seed: i64,
    /// Rows of work in the stage: its input rows, or the questions to generate.
    pub rows: i64,
    /// Rows in a shard; shard `i` covers rows `i*shard_rows .. min((i+1)*shard_rows, rows)`. At least 1.
    pub shard_rows: i64,
    /// Sealed outputs of earlier stages, in the order in which their rows count.
    pub inputs: Vec<TaskInput>,
    /// Workspace: a directory or an object store URI.
    pub workspace: String,
    /// Parameters of the stage.
    pub params: StageParams,
}

impl StageTask {
    /// Returns the content keys of the earlier stages that it reads: its inputs, and the one that trained its model.
    pub fn reads(&self) -> BTreeSet<String> {
        let mut keys: BTreeSet<String> =
            self.inputs.iter().map(|input| input.key.clone()).collect();
        let mut params = self.params.clone();
        if let Some(ModelUse {
            location: ModelLocation::Trained { key, .. },
            ..
        }) = params.model_mut()
        {
            keys.insert(key.clone());
        }
        keys
    }

    /// Returns the number of shards: at least one, so that a stage without rows still has a manifest.
    pub fn shards(&self) -> i64 {
        self.id.stage.shards(self.rows, self.shard_rows)
    }

    /// Returns the global row range of shard `index`.
    pub fn range(&self, index: i64) -> std::ops::Range<i64> {
        if !self.id.stage.is_sharded() {
            return 0..self.rows;
        }
        let start = (index * self.shard_rows).min(self.rows);
        start..(start + self.shard_rows).min(self.rows)
    }
}

/// A sealed output that a task reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskInput {
    /// The stage that wrote it.
    #[serde(flatten)]
    pub id: StageId,
    /// Its content key.
    pub key: String,
    /// The digest in its seal.
    pub digest: String,
}
