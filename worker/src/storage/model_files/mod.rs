//! A trained model from the workspace as a local directory in the Hugging Face layout. Files are linked in place or
//! fetched, and their digests are checked. It does not know what is in them.

mod keep;

use std::fs;
use std::path::{Component, Path, PathBuf};

use scalequest_crds::digest::hex;
use scalequest_crds::protocol::manifest::ObjectRef;
use scalequest_crds::v1alpha1::Stage;
use sha2::{Digest, Sha256};

use super::store::{Store, StoreError};
use super::workspace::{ReadError, StageDir};

pub use keep::{KEPT, Kept, keep};

/// Makes the files of the sealed training stage `stage` with content key `key` available in a directory below `cache`, and
/// returns that directory. Where the store is a directory its files are linked, otherwise they are fetched once. Every
/// digest is checked each time.
pub fn fetch(store: &Store, stage: Stage, key: &str, cache: &Path) -> Result<PathBuf, ReadError> {
    let dir = StageDir::new(store, stage, key);
    let seal = dir.sealed()?;
    let folder = cache.join(format!("{}-{key}", stage.slug()));
    for (name, file) in seal.shards.iter().flat_map(|shard| &shard.files) {
        let target = folder.join(checked_name(&dir, name)?);
        match store.local_path(&dir.object_path(&file.sha256)) {
            Some(object) => {
                check(&dir, &object, file)?;
                link(&object, &target).map_err(|e| StoreError::from_io("write", &target, e))?;
            }
            None => {
                if check(&dir, &target, file).is_err() {
                    let object = dir.object_path(&file.sha256);
                    match store.download(&object, &target) {
                        Err(StoreError::NotFound { .. }) => {
                            return Err(damaged(&dir, file, "it is gone"));
                        }
                        result => result?,
                    }
                    check(&dir, &target, file)?;
                }
            }
        }
    }
    Ok(folder)
}

/// File names are relative and stay below the model's directory.
fn checked_name<'a>(dir: &StageDir, name: &'a str) -> Result<&'a Path, ReadError> {
    let path = Path::new(name);
    match path
        .components()
        .all(|part| matches!(part, Component::Normal(_)))
        && !name.is_empty()
    {
        true => Ok(path),
        false => Err(ReadError::Unexpected {
            object: dir.store().describe(&dir.path(super::workspace::SEAL)),
            line: 0,
            problem: format!(
                "it lists the file {name:?}, which does not lie below the model's directory"
            ),
        }),
    }
}

fn check(dir: &StageDir, path: &Path, file: &ObjectRef) -> Result<(), ReadError> {
    let (mut hash, mut bytes) = (Sha256::new(), 0_i64);
    let scanned = super::store::scan_file(path, &mut |piece| {
        hash.update(piece);
        bytes += piece.len() as i64;
    });
    match scanned {
        Err(StoreError::NotFound { .. }) => return Err(damaged(dir, file, "it is gone")),
        result => result?,
    }
    if bytes != file.bytes {
        return Err(damaged(
            dir,
            file,
            &format!("it has {bytes} bytes instead of {}", file.bytes),
        ));
    }
    match hex(&hash.finalize()) == file.sha256 {
        true => Ok(()),
        false => Err(damaged(
            dir,
            file,
            "its bytes do not have the digest that is its name",
        )),
    }
}

fn damaged(dir: &StageDir, file: &ObjectRef, problem: &str) -> ReadError {
    dir.damaged(&format!("objects/{}", file.sha256), problem)
}

fn link(object: &Path, target: &Path) -> std::io::Result<()> {
    if fs::read_link(target).is_ok_and(|existing| existing == object) {
        return Ok(());
    }
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    // Beside its target, then renamed: two workers may share the cache.
    let beside = target.with_file_name(format!(
        ".link-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    match fs::remove_file(&beside) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    std::os::unix::fs::symlink(object, &beside)?;
    fs::rename(&beside, target)
}

#[cfg(test)]
mod tests;
