//! Reads every object of a stage's shards once: finds what is gone, cut short or altered, and computes the digest of the
//! content, which depends on the rows and files alone and not on how they were cut into shards.

use std::collections::BTreeMap;

use scalequest_crds::digest::hex;
use scalequest_crds::protocol::manifest::{ObjectRef, ShardManifest};
use sha2::{Digest, Sha256};

use super::super::commit::count_lines;
use super::super::store::StoreError;
use super::super::workspace::StageDir;

/// A damaged object, and the position of a shard that refers to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// Index into the examined shards.
    pub(super) shard: usize,
    /// Digest, and so name, of the object.
    pub(super) object: String,
    /// What is wrong with it.
    pub(super) problem: String,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Examination {
    /// Digest of the content; without meaning where there is damage.
    pub(super) digest: String,
    /// All damage, by shard.
    pub(super) damage: Vec<Damage>,
}

/// Examines the objects of `shards`, which are in row order.
pub(super) fn examine(dir: &StageDir, shards: &[ShardManifest]) -> Result<Examination, StoreError> {
    let mut tables: BTreeMap<&str, Sha256> = BTreeMap::new();
    let mut files: BTreeMap<&str, &str> = BTreeMap::new();
    let mut damage = Vec::new();
    for (shard, manifest) in shards.iter().enumerate() {
        for (name, table) in &manifest.tables {
            let content = tables.entry(name).or_default();
            let found = check_object(dir, &table.object, Some(table.rows), |piece| {
                content.update(piece)
            })?;
            let object = table.object.sha256.clone();
            damage.extend(found.map(|problem| Damage {
                shard,
                object,
                problem,
            }));
        }
        for (name, file) in &manifest.files {
            files.insert(name, &file.sha256);
            let found = check_object(dir, file, None, |_| {})?;
            damage.extend(found.map(|problem| Damage {
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
    Ok(Examination {
        digest: hex(&content.finalize()),
        damage,
    })
}

/// Like [`examine`], but looks only whether every object is there in full length.
pub(super) fn examine_sizes(
    dir: &StageDir,
    shards: &[ShardManifest],
) -> Result<Vec<Damage>, StoreError> {
    let mut damage = Vec::new();
    for (shard, manifest) in shards.iter().enumerate() {
        for object in super::super::workspace::objects_of(manifest) {
            let size = dir.store().size(&dir.object_path(&object.sha256))?;
            let problem = wrong_size(object, size.map(|bytes| bytes as i64));
            damage.extend(problem.map(|problem| Damage {
                shard,
                object: object.sha256.clone(),
                problem,
            }));
        }
    }
    Ok(damage)
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
        .scan(&dir.object_path(&object.sha256), &mut |piece| {
            hash.update(piece);
            bytes += piece.len() as i64;
            lines += if rows.is_some() {
                count_lines(piece)
            } else {
                0
            };
            take(piece);
        })?;
    if let Some(problem) = wrong_size(object, present.then_some(bytes)) {
        return Ok(Some(problem));
    }
    if hex(&hash.finalize()) != object.sha256 {
        return Ok(Some(
            "its bytes do not have the digest that is its name".into(),
        ));
    }
    let wrong_rows = rows.filter(|rows| *rows != lines);
    Ok(wrong_rows.map(|rows| format!("it has {lines} lines, its manifest says {rows}")))
}

fn wrong_size(object: &ObjectRef, bytes: Option<i64>) -> Option<String> {
    match bytes {
        None => Some("it is gone".into()),
        Some(bytes) if bytes != object.bytes => {
            Some(format!("it has {bytes} bytes instead of {}", object.bytes))
        }
        Some(_) => None,
    }
}
