//! Where a stage's output lies in the workspace, and how it is opened for reading: only sealed, and only the very content
//! that the task means. It does not know what the rows say.

use std::ops::Range;

use scalequest_crds::protocol::manifest::{ObjectRef, Seal, ShardManifest};
use scalequest_crds::protocol::report::Outcome;
use scalequest_crds::protocol::task::{StageTask, TaskInput};
use scalequest_crds::v1alpha1::Stage;

use super::envelope;
use super::store::{Store, StoreError};

/// The name of a stage's seal within its directory.
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
    /// The store does not answer, or refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object is gone, cut short or altered: the stage that made it is to be sealed again.
    #[error("{object} is damaged: {problem}")]
    Damaged {
        /// The stage that made it.
        stage: Stage,
        /// Its content key.
        key: String,
        /// Full path or URI.
        object: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An object is whole but not what this version of the worker expects.
    #[error("{object}, line {line}: {problem}: the worker that wrote it was of another version")]
    Unexpected {
        /// Full path or URI.
        object: String,
        /// Line in it, from 1; 0: all of it.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
}

impl ReadError {
    /// How a task ends that met this error.
    pub fn outcome(&self) -> Outcome {
        match self {
            ReadError::Damaged { stage, key, .. } => Outcome::InputCorrupted {
                stage: *stage,
                key: key.clone(),
                message: self.to_string(),
            },
            ReadError::Store(_) | ReadError::Unexpected { .. } => Outcome::Failed {
                message: self.to_string(),
            },
        }
    }

    /// Whether trying again is of no use.
    pub fn is_permanent(&self) -> bool {
        match self {
            ReadError::Store(error) => error.is_permanent(),
            ReadError::Damaged { .. } => false,
            ReadError::Unexpected { .. } => true,
        }
    }
}

impl StageDir {
    /// The output of `stage` with content key `key`, whether it exists or not.
    pub fn new(store: &Store, stage: Stage, key: &str) -> Self {
        StageDir {
            store: store.clone(),
            stage,
            key: key.to_string(),
        }
    }

    /// The directory into which `task` writes.
    pub fn of(store: &Store, task: &StageTask) -> Self {
        StageDir::new(store, task.id.stage, &task.key)
    }

    /// Opens an input of a task: its directory and its seal. A seal that is missing, damaged or of other content than the
    /// task means is [`ReadError::Damaged`].
    pub fn input(store: &Store, input: &TaskInput) -> Result<(Self, Seal), ReadError> {
        let dir = StageDir::new(store, input.id.stage, &input.key);
        let seal = dir.sealed()?;
        match seal.digest == input.digest {
            true => Ok((dir, seal)),
            false => Err(dir.damaged(
                SEAL,
                format!(
                    "its digest is {}, the task expects {}",
                    seal.digest, input.digest
                ),
            )),
        }
    }

    /// The store it lies in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The stage.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Its content key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Store path of `name` in this directory.
    pub fn path(&self, name: &str) -> String {
        format!("stages/{}-{}/{name}", self.stage.slug(), self.key)
    }

    /// Store path of the object with that digest.
    pub fn object_path(&self, sha256: &str) -> String {
        self.path(&format!("objects/{sha256}"))
    }

    /// Store path of the manifest of a shard.
    pub fn shard_path(&self, range: &Range<i64>) -> String {
        self.path(&format!("shards/{}.json", range_name(range)))
    }

    /// The seal, if the stage is finished.
    pub fn seal(&self) -> Result<Option<Seal>, ReadError> {
        let Some(bytes) = self.store.get_if_present(&self.path(SEAL))? else {
            return Ok(None);
        };
        let seal: Seal = envelope::open(&bytes).map_err(|problem| self.damaged(SEAL, problem))?;
        match seal.stage == self.stage && seal.key == self.key {
            true => Ok(Some(seal)),
            false => Err(self.damaged(SEAL, format!("it belongs to {}-{}", seal.stage, seal.key))),
        }
    }

    /// The seal of a stage that must be finished; none there is [`ReadError::Damaged`].
    pub fn sealed(&self) -> Result<Seal, ReadError> {
        self.seal()?
            .ok_or_else(|| self.damaged(SEAL, "it is gone, or the stage was never sealed"))
    }

    /// The manifest of a shard, if it is committed and its objects are there in full length. A damaged manifest counts as
    /// none: the shard is made again, and its commit puts all right.
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

    /// The manifest of a shard as it lies there: none, whole, or how it is damaged.
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

    /// The ranges of all shards that have a manifest, in order; files with other names are passed over.
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

    /// The error for a damaged object `name` of this directory.
    pub(super) fn damaged(&self, name: &str, problem: impl Into<String>) -> ReadError {
        ReadError::Damaged {
            stage: self.stage,
            key: self.key.clone(),
            object: self.store.describe(&self.path(name)),
            problem: problem.into(),
        }
    }
}

/// `<start>-<end>`, 12 digits each, so that names sort as ranges do.
pub(super) fn range_name(range: &Range<i64>) -> String {
    format!("{:012}-{:012}", range.start, range.end)
}

/// Every object that a manifest refers to: tables, then files.
pub(super) fn objects_of(manifest: &ShardManifest) -> impl Iterator<Item = &ObjectRef> {
    manifest
        .tables
        .values()
        .map(|table| &table.object)
        .chain(manifest.files.values())
}
