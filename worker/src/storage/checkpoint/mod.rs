//! Progress within a shard that is not yet committed: named parts, saved together. Parts are named by their digest and a
//! small index is written last, so that a save that is cut short is not seen and the one before it serves. It does not
//! know what the parts mean.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use scalequest_crds::digest::{hex, sha256_hex};
use scalequest_crds::protocol::manifest::ObjectRef;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::envelope;
use super::store::{Content, Created, StoreError};
use super::workspace::{StageDir, range_name};

/// How many saves are kept: the last one, and the one before it in case the last is damaged.
const KEPT: usize = 2;

/// The checkpoint of one shard of one stage.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    dir: StageDir,
    range: Range<i64>,
}

/// A complete save.
#[derive(Clone, Debug)]
pub struct Saved {
    dir: StageDir,
    prefix: String,
    parts: BTreeMap<String, ObjectRef>,
}

/// What a save consists of; written after its parts.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Index {
    parts: BTreeMap<String, ObjectRef>,
}

impl Checkpoint {
    /// The checkpoint of the shard `range`, whether it exists or not.
    pub fn new(dir: &StageDir, range: &Range<i64>) -> Self {
        Checkpoint {
            dir: dir.clone(),
            range: range.clone(),
        }
    }

    /// Saves `parts` as the whole progress, in place of what was saved before. Parts that did not change since are not
    /// written again.
    pub fn save(&self, parts: &BTreeMap<String, Content>) -> Result<(), StoreError> {
        let store = self.dir.store();
        let mut index = Index {
            parts: BTreeMap::new(),
        };
        for (name, content) in parts {
            let object = measure(content)?;
            let path = self.path(&object.sha256);
            if store.put_new(&path, content.clone())? == (Created::AlreadyThere { same: false }) {
                store.put(&path, content.clone())?;
            }
            index.parts.insert(name.clone(), object);
        }
        let next = self.saves()?.last().map_or(0, |last| last + 1);
        store.put(&self.index_path(next), envelope::wrap(&index))?;
        self.forget_old()
    }

    /// The last save that is complete; damaged ones are passed over.
    pub fn load(&self) -> Result<Option<Saved>, StoreError> {
        for number in self.saves()?.into_iter().rev() {
            match self.open(number)? {
                Ok(saved) => return Ok(Some(saved)),
                Err(problem) => {
                    let object = self.dir.store().describe(&self.index_path(number));
                    tracing::warn!(object, problem, "passed over a damaged checkpoint");
                }
            }
        }
        Ok(None)
    }

    /// Removes all saves: the shard is committed, or they are of no use.
    pub fn remove(&self) -> Result<(), StoreError> {
        // Indices first, so that a removal that is cut short leaves no save with parts missing.
        for number in self.saves()? {
            self.dir.store().delete(&self.index_path(number))?;
        }
        self.dir.store().delete_below(&self.prefix())
    }

    /// The save `number`, or how it is damaged.
    fn open(&self, number: u64) -> Result<Result<Saved, String>, StoreError> {
        let index = match self.index(number)? {
            Ok(index) => index,
            Err(problem) => return Ok(Err(problem)),
        };
        for (name, part) in &index.parts {
            let (mut hash, mut bytes) = (Sha256::new(), 0_i64);
            let present = self
                .dir
                .store()
                .scan(&self.path(&part.sha256), &mut |piece| {
                    hash.update(piece);
                    bytes += piece.len() as i64;
                })?;
            if !present || bytes != part.bytes || hex(&hash.finalize()) != part.sha256 {
                return Ok(Err(format!("its part {name} is missing or damaged")));
            }
        }
        Ok(Ok(Saved {
            dir: self.dir.clone(),
            prefix: self.prefix(),
            parts: index.parts,
        }))
    }

    fn index(&self, number: u64) -> Result<Result<Index, String>, StoreError> {
        match self.dir.store().get_if_present(&self.index_path(number))? {
            Some(bytes) => Ok(envelope::open(&bytes)),
            None => Ok(Err("it is gone".into())),
        }
    }

    /// Removes all saves but the last ones, and parts that none of these refers to.
    fn forget_old(&self) -> Result<(), StoreError> {
        let saves = self.saves()?;
        let (old, kept) = saves.split_at(saves.len().saturating_sub(KEPT));
        for number in old {
            self.dir.store().delete(&self.index_path(*number))?;
        }
        let mut used = BTreeSet::new();
        for number in kept {
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

    /// Numbers of the saves that have an index, oldest first.
    fn saves(&self) -> Result<Vec<u64>, StoreError> {
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

impl Saved {
    /// Names of the parts.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.keys().map(String::as_str)
    }

    /// The part `name`, in memory; `None` if the save has no such part.
    pub fn bytes(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.parts
            .get(name)
            .map(|part| self.dir.store().get(&self.path(part)))
            .transpose()
    }

    /// The part `name` as a local file, not to be changed: in place, or copied into `folder` where the store is not a
    /// directory.
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

fn measure(content: &Content) -> Result<ObjectRef, StoreError> {
    match content {
        Content::Bytes(bytes) => Ok(ObjectRef {
            sha256: sha256_hex(bytes),
            bytes: bytes.len() as i64,
        }),
        Content::File(path) => {
            let (mut hash, mut bytes) = (Sha256::new(), 0);
            super::store::scan_file(path, &mut |piece| {
                hash.update(piece);
                bytes += piece.len() as i64;
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
