//! Checkpoints: the progress of a shard that is not yet committed, as snapshots of named parts. Parts are stored under their digest and a small
//! index is written last, so that an interrupted save is invisible and the previous snapshot stays valid. It does not know what the parts mean.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use scalequest_crds::digest::{hex, sha256_hex};
use scalequest_crds::protocol::manifest::ObjectRef;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::envelope;
use super::store::{Content, PutOutcome, StoreError};
use super::workspace::{StageDir, range_name};

/// Number of retained snapshots: the last one, and the previous one in case the last is corrupt.
const RETAINED: usize = 2;

/// The checkpoint of one shard of one stage.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    dir: StageDir,
    range: Range<i64>,
}

/// A complete snapshot.
#[derive(Clone, Debug)]
pub struct Snapshot {
    dir: StageDir,
    prefix: String,
    parts: BTreeMap<String, ObjectRef>,
}

/// The parts of a snapshot; written after them.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Index {
    parts: BTreeMap<String, ObjectRef>,
}

impl Checkpoint {
    /// The checkpoint of the shard `range`, which need not exist.
    pub fn new(dir: &StageDir, range: &Range<i64>) -> Self {
        Checkpoint {
            dir: dir.clone(),
            range: range.clone(),
        }
    }

    /// Saves a snapshot of all `parts`. Unchanged parts are not written again.
    pub fn save(&self, parts: &BTreeMap<String, Content>) -> Result<(), StoreError> {
        let store = self.dir.store();
        let mut index = Index {
            parts: BTreeMap::new(),
        };
        for (name, content) in parts {
            let object = object_ref(content)?;
            let path = self.path(&object.sha256);
            if store.put_new(&path, content.clone())? == (PutOutcome::AlreadyExists { same: false })
            {
                store.put(&path, content.clone())?;
            }
            index.parts.insert(name.clone(), object);
        }
        let next = self.snapshot_numbers()?.last().map_or(0, |last| last + 1);
        store.put(&self.index_path(next), envelope::wrap(&index))?;
        self.remove_old()
    }

    /// Loads the last snapshot that is intact; corrupt ones are skipped.
    pub fn load(&self) -> Result<Option<Snapshot>, StoreError> {
        for number in self.snapshot_numbers()?.into_iter().rev() {
            match self.open(number)? {
                Ok(snapshot) => return Ok(Some(snapshot)),
                Err(problem) => {
                    let object = self.dir.store().describe(&self.index_path(number));
                    tracing::warn!(object, problem, "skipped a corrupt checkpoint");
                }
            }
        }
        Ok(None)
    }

    /// Removes all snapshots: the shard is committed, or they are unusable.
    pub fn remove(&self) -> Result<(), StoreError> {
        // Indexes first, so that an interrupted removal leaves no snapshot without its parts.
        for number in self.snapshot_numbers()? {
            self.dir.store().delete(&self.index_path(number))?;
        }
        self.dir.store().delete_below(&self.prefix())
    }

    /// Opens the snapshot `number`; the inner error says how it is corrupt.
    fn open(&self, number: u64) -> Result<Result<Snapshot, String>, StoreError> {
        let index = match self.index(number)? {
            Ok(index) => index,
            Err(problem) => return Ok(Err(problem)),
        };
        for (name, part) in &index.parts {
            let (mut hash, mut bytes) = (Sha256::new(), 0_i64);
            let present = self
                .dir
                .store()
                .scan(&self.path(&part.sha256), &mut |chunk| {
                    hash.update(chunk);
                    bytes += chunk.len() as i64;
                })?;
            if !present || bytes != part.bytes || hex(&hash.finalize()) != part.sha256 {
                return Ok(Err(format!("its part {name} is missing or corrupt")));
            }
        }
        Ok(Ok(Snapshot {
            dir: self.dir.clone(),
            prefix: self.prefix(),
            parts: index.parts,
        }))
    }

    fn index(&self, number: u64) -> Result<Result<Index, String>, StoreError> {
        match self.dir.store().get_if_present(&self.index_path(number))? {
            Some(bytes) => Ok(envelope::open(&bytes)),
            None => Ok(Err("it is missing".into())),
        }
    }

    /// Removes all but the retained snapshots, and parts that none of these refers to.
    fn remove_old(&self) -> Result<(), StoreError> {
        let numbers = self.snapshot_numbers()?;
        let (old, retained) = numbers.split_at(numbers.len().saturating_sub(RETAINED));
        for number in old {
            self.dir.store().delete(&self.index_path(*number))?;
        }
        let mut used = BTreeSet::new();
        for number in retained {
            if let Ok(index) = self.index(*number)? {
                used.extend(
                    index
                        .parts
                        .into_values()
                        .map(|part| self.path(&part.sha256)),
                );
            }
        }
        for entry in self.dir.store().list(&self.prefix())? {
            if !entry.path.ends_with(".json") && !used.contains(&entry.path) {
                self.dir.store().delete(&entry.path)?;
            }
        }
        Ok(())
    }

    /// Returns the numbers of the snapshots that have an index, oldest first.
    fn snapshot_numbers(&self) -> Result<Vec<u64>, StoreError> {
        let entries = self.dir.store().list(&self.prefix())?;
        let number = |path: &str| path.rsplit('/').next()?.strip_suffix(".json")?.parse().ok();
        Ok(entries
            .iter()
            .filter_map(|entry| number(&entry.path))
            .collect())
    }

    fn prefix(&self) -> String {
        self.dir
            .path(&format!("checkpoint/{}", range_name(&self.range)))
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix())
    }

    fn index_path(&self, number: u64) -> String {
        self.path(&format!("{number:012}.json"))
    }
}

impl Snapshot {
    /// Returns the names of the parts.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.keys().map(String::as_str)
    }

    /// Reads the part `name`; `None` if the snapshot has no such part.
    pub fn bytes(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.parts
            .get(name)
            .map(|part| self.dir.store().get(&self.path(part)))
            .transpose()
    }

    /// Returns the part `name` as a read-only local file: in place if the store is a directory, otherwise downloaded to `folder`.
    pub fn file(&self, name: &str, folder: &Path) -> Result<Option<PathBuf>, StoreError> {
        let Some(part) = self.parts.get(name) else {
            return Ok(None);
        };
        if let Some(path) = self.dir.store().local_path(&self.path(part)) {
            return Ok(Some(path));
        }
        let target = folder.join(&part.sha256);
        self.dir.store().download(&self.path(part), &target)?;
        Ok(Some(target))
    }

    fn path(&self, part: &ObjectRef) -> String {
        format!("{}/{}", self.prefix, part.sha256)
    }
}

fn object_ref(content: &Content) -> Result<ObjectRef, StoreError> {
    match content {
        Content::Bytes(bytes) => Ok(ObjectRef {
            sha256: sha256_hex(bytes),
            bytes: bytes.len() as i64,
        }),
        Content::File(path) => {
            let (mut hash, mut bytes) = (Sha256::new(), 0);
            super::store::scan_file(path, &mut |chunk| {
                hash.update(chunk);
                bytes += chunk.len() as i64;
            })?;
            Ok(ObjectRef {
                sha256: hex(&hash.finalize()),
                bytes,
            })
        }
    }
}

#[cfg(test)]
mod tests;
