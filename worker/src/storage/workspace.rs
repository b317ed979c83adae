//! The layout of a stage's output in the workspace, and how it is opened for reading: only if it is sealed and has the content that the task
//! expects. It does not know what the rows mean.

use std::ops::Range;

use scalequest_crds::protocol::manifest::{ObjectRef, Seal, ShardManifest};
use scalequest_crds::protocol::report::Outcome;
use scalequest_crds::protocol::task::{StageTask, TaskInput};
use scalequest_crds::v1alpha1::Stage;

use super::envelope;
use super::store::{Store, StoreError};

/// The file name of a stage's seal within its directory.
pub const SEAL: &str = "sealed.json";

/// The directory of one stage output: `stages/<stage>-<key>/`.
#[derive(Clone, Debug)]
pub struct StageDir {
    store: Store,
    stage: Stage,
    key: String,
}

/// Why an earlier stage's output cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object is missing, truncated or altered: its stage must be sealed again.
    #[error("{object} is corrupt: {problem}")]
    Corrupted {
        /// The stage of the object.
        stage: Stage,
        /// The stage's content key.
        key: String,
        /// Full path or URI.
        object: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An object is intact but has another format than this version of the worker expects.
    #[error("{object}, line {line}: {problem}: it was written by another version of the worker")]
    Unexpected {
        /// Full path or URI.
        object: String,
        /// Line in it, from 1; 0 for the whole object.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
}

impl ReadError {
    /// Returns the outcome of a task that fails with this error.
    pub fn outcome(&self) -> Outcome {
        match self {
            ReadError::Corrupted { stage, key, .. } => Outcome::InputCorrupted {
                stage: *stage,
                key: key.clone(),
                message: self.to_string(),
            },
            ReadError::Store(_) | ReadError::Unexpected { .. } => Outcome::Failed {
                message: self.to_string(),
            },
        }
    }
}

impl StageDir {
    /// The output of `stage` with the content key `key`, which need not exist.
    pub fn new(store: &Store, stage: Stage, key: &str) -> Self {
        StageDir {
            store: store.clone(),
            stage,
            key: key.to_string(),
        }
    }

    /// The output directory of `task`.
    pub fn for_task(store: &Store, task: &StageTask) -> Self {
        StageDir::new(store, task.id.stage, &task.key)
    }

    /// Opens an input of a task: its directory and its seal.
    ///
    /// # Errors
    /// [`ReadError::Corrupted`] if the seal is missing, corrupt or of other content than the task expects.
    pub fn open_input(store: &Store, input: &TaskInput) -> Result<(Self, Seal), ReadError> {
        let dir = StageDir::new(store, input.id.stage, &input.key);
        let seal = dir.sealed()?;
        match seal.digest == input.digest {
            true => Ok((dir, seal)),
            false => Err(dir.corrupted(
                SEAL,
                format!(
                    "its digest is {}, the task expects {}",
                    seal.digest, input.digest
                ),
            )),
        }
    }

    /// Returns its store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns its stage.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Returns its content key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the store path of `name` in this directory.
    pub fn path(&self, name: &str) -> String {
        format!("stages/{}-{}/{name}", self.stage.slug(), self.key)
    }

    /// Returns the store path of the object with the digest `sha256`.
    pub fn object_path(&self, sha256: &str) -> String {
        self.path(&format!("objects/{sha256}"))
    }

    /// Returns the store path of a shard's manifest.
    pub fn shard_path(&self, range: &Range<i64>) -> String {
        self.path(&format!("shards/{}.json", range_name(range)))
    }

    /// Returns the seal; `None` if the stage is not sealed.
    pub fn seal(&self) -> Result<Option<Seal>, ReadError> {
        let Some(bytes) = self.store.get_if_present(&self.path(SEAL))? else {
            return Ok(None);
        };
        let seal: Seal = envelope::open(&bytes).map_err(|problem| self.corrupted(SEAL, problem))?;
        match seal.stage == self.stage && seal.key == self.key {
            true => Ok(Some(seal)),
            false => {
                Err(self.corrupted(SEAL, format!("it belongs to {}-{}", seal.stage, seal.key)))
            }
        }
    }

    /// Returns the seal of a stage that must be sealed.
    ///
    /// # Errors
    /// [`ReadError::Corrupted`] if there is none.
    pub fn sealed(&self) -> Result<Seal, ReadError> {
        self.seal()?
            .ok_or_else(|| self.corrupted(SEAL, "it is missing, or the stage was never sealed"))
    }

    /// Returns the manifest of a committed shard; `None` if an object is missing or truncated, or the manifest is corrupt: the shard is then
    /// recomputed, and its commit repairs both.
    pub fn committed(&self, range: &Range<i64>) -> Result<Option<ShardManifest>, StoreError> {
        let Some(manifest) = self.manifest(range)?.and_then(Result::ok) else {
            return Ok(None);
        };
        for object in objects_of(&manifest) {
            if self.store.size(&self.object_path(&object.sha256))?
                != u64::try_from(object.bytes).ok()
            {
                return Ok(None);
            }
        }
        Ok(Some(manifest))
    }

    /// Returns the manifest of a shard; the inner error says how it is corrupt.
    pub(super) fn manifest(
        &self,
        range: &Range<i64>,
    ) -> Result<Option<Result<ShardManifest, String>>, StoreError> {
        let Some(bytes) = self.store.get_if_present(&self.shard_path(range))? else {
            return Ok(None);
        };
        Ok(Some(envelope::open::<ShardManifest>(&bytes).and_then(
            |manifest| {
                let belongs = manifest.stage == self.stage && manifest.key == self.key;
                match belongs && (manifest.start, manifest.end) == (range.start, range.end) {
                    true => Ok(manifest),
                    false => Err("it belongs to another shard".to_string()),
                }
            },
        )))
    }

    /// Returns the ranges of all shards that have a manifest, in order; files with other names are skipped.
    pub(super) fn shard_ranges(&self) -> Result<Vec<Range<i64>>, StoreError> {
        let entries = self.store.list(&self.path("shards"))?;
        let range = |path: &str| {
            let name = path.rsplit('/').next()?.strip_suffix(".json")?;
            let (start, end) = name.split_once('-')?;
            let range = start.parse().ok()?..end.parse().ok()?;
            (range_name(&range) == name).then_some(range)
        };
        Ok(entries
            .iter()
            .filter_map(|entry| range(&entry.path))
            .collect())
    }

    /// Returns the error for a corrupt object `name` of this directory.
    pub(super) fn corrupted(&self, name: &str, problem: impl Into<String>) -> ReadError {
        ReadError::Corrupted {
            stage: self.stage,
            key: self.key.clone(),
            object: self.store.describe(&self.path(name)),
            problem: problem.into(),
        }
    }
}

/// Returns `<start>-<end>`, 12 digits each, so that names sort like ranges.
pub(super) fn range_name(range: &Range<i64>) -> String {
    format!("{:012}-{:012}", range.start, range.end)
}

/// Returns every object that a manifest refers to: tables, then files.
pub fn objects_of(manifest: &ShardManifest) -> impl Iterator<Item = &ObjectRef> {
    manifest
        .tables
        .values()
        .map(|table| &table.object)
        .chain(manifest.files.values())
}
