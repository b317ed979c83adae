//! Reads every object of a stage's shards once: finds missing, truncated and altered ones, and computes the digest of the content, which depends
//! only on the rows and files, not on how they are divided into shards.

use std::collections::BTreeMap;

use scalequest_crds::digest::hex;
use scalequest_crds::protocol::manifest::{ObjectRef, ShardManifest};
use sha2::{Digest, Sha256};

use super::super::commit::count_lines;
use super::super::store::StoreError;
use super::super::workspace::StageDir;

/// A corrupt object, and a shard that refers to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CorruptObject {
    /// Index into the verified shards.
    pub(super) shard: usize,
    /// Digest, and so name, of the object.
    pub(super) object: String,
    /// What is wrong with it.
    pub(super) problem: String,
}

/// The result of verifying a stage's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verification {
    /// Digest of the content; meaningless if an object is corrupt.
    pub(super) digest: String,
    /// The corrupt objects, by shard.
    pub(super) corrupt: Vec<CorruptObject>,
}

/// Verifies the objects of `shards`, which are in row order.
pub(super) fn verify_objects(
    dir: &StageDir,
    shards: &[ShardManifest],
) -> Result<Verification, StoreError> {
    let mut tables: BTreeMap<&str, Sha256> = BTreeMap::new();
    let mut files: BTreeMap<&str, &str> = BTreeMap::new();
    let mut corrupt = Vec::new();
    for (shard, manifest) in shards.iter().enumerate() {
        for (name, table) in &manifest.tables {
            let content = tables.entry(name).or_default();
            let found = check_object(dir, &table.object, Some(table.rows), |chunk| {
                content.update(chunk)
            })?;
            let object = table.object.sha256.clone();
            corrupt.extend(found.map(|problem| CorruptObject {
                shard,
                object,
                problem,
            }));
        }
        for (name, file) in &manifest.files {
            files.insert(name, &file.sha256);
            let found = check_object(dir, file, None, |_| {})?;
            corrupt.extend(found.map(|problem| CorruptObject {
                shard,
                object: file.sha256.clone(),
                problem,
            }));
        }
    }
    let mut content = Sha256::new();
    for (name, hash) in tables {
        content.update(format!("table {name} {}\n", hex(&hash.finalize())));
    }
    for (name, sha256) in files {
        content.update(format!("file {name} {sha256}\n"));
    }
    Ok(Verification {
        digest: hex(&content.finalize()),
        corrupt,
    })
}

/// Like [`verify_objects`], but checks only the size of every object.
pub(super) fn verify_sizes(
    dir: &StageDir,
    shards: &[ShardManifest],
) -> Result<Vec<CorruptObject>, StoreError> {
    let mut corrupt = Vec::new();
    for (shard, manifest) in shards.iter().enumerate() {
        for object in super::super::workspace::objects_of(manifest) {
            let size = dir.store().size(&dir.object_path(&object.sha256))?;
            let problem = wrong_size(object, size.map(|bytes| bytes as i64));
            corrupt.extend(problem.map(|problem| CorruptObject {
                shard,
                object: object.sha256.clone(),
                problem,
            }));
        }
    }
    Ok(corrupt)
}

fn check_object(
    dir: &StageDir,
    object: &ObjectRef,
    rows: Option<i64>,
    mut take: impl FnMut(&[u8]),
) -> Result<Option<String>, StoreError> {
    let (mut hash, mut bytes, mut lines) = (Sha256::new(), 0_i64, 0_i64);
    let present = dir
        .store()
        .scan(&dir.object_path(&object.sha256), &mut |chunk| {
            hash.update(chunk);
            bytes += chunk.len() as i64;
            lines += if rows.is_some() {
                count_lines(chunk)
            } else {
                0
            };
            take(chunk);
        })?;
    if let Some(problem) = wrong_size(object, present.then_some(bytes)) {
        return Ok(Some(problem));
    }
    if hex(&hash.finalize()) != object.sha256 {
        return Ok(Some("its bytes do not match its digest".into()));
    }
    let wrong_rows = rows.filter(|rows| *rows != lines);
    Ok(wrong_rows.map(|rows| format!("it has {lines} lines, its manifest says {rows}")))
}

fn wrong_size(object: &ObjectRef, bytes: Option<i64>) -> Option<String> {
    match bytes {
        None => Some("it is missing".into()),
        Some(bytes) if bytes != object.bytes => {
            Some(format!("it has {bytes} bytes instead of {}", object.bytes))
        }
        Some(_) => None,
    }
}
