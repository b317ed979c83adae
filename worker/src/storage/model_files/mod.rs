//! A trained model of the workspace as a local directory in the Hugging Face layout. Files are linked in place or downloaded, and verified by
//! digest. It does not know what the files contain.

mod cache;

use std::fs;
use std::path::{Component, Path, PathBuf};

use scalequest_crds::digest::hex;
use scalequest_crds::protocol::manifest::ObjectRef;
use scalequest_crds::v1alpha1::Stage;
use sha2::{Digest, Sha256};

use super::store::{Store, StoreError};
use super::workspace::{ReadError, StageDir};

pub use cache::{CachedModel, MAX_CACHED_MODELS, fetch_cached};

/// Makes the files of the sealed training stage `stage` with the content key `key` available in a directory below `cache`, and
/// returns that directory. Files of a directory store are linked, those of an object store are downloaded once. Every digest is verified
/// each time.
pub fn fetch(store: &Store, stage: Stage, key: &str, cache: &Path) -> Result<PathBuf, ReadError> {
    let dir = StageDir::new(store, stage, key);
    let seal = dir.sealed()?;
    let folder = cache.join(format!("{}-{key}", stage.slug()));
    for (name, file) in seal.shards.iter().flat_map(|shard| &shard.files) {
        let target = folder.join(checked_name(&dir, name)?);
        match store.local_path(&dir.object_path(&file.sha256)) {
            Some(object) => {
                verify(&dir, &object, file)?;
                link(&object, &target).map_err(|e| StoreError::from_io("write", &target, e))?;
            }
            None => {
                if verify(&dir, &target, file).is_err() {
                    let object = dir.object_path(&file.sha256);
                    match store.download(&object, &target) {
                        Err(StoreError::NotFound { .. }) => {
                            return Err(corrupted(&dir, file, "it is missing"));
                        }
                        result => result?,
                    }
                    verify(&dir, &target, file)?;
                }
            }
        }
    }
    Ok(folder)
}

/// Checks that a file name is relative and stays below the model's directory.
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
                "it lists the file {name:?}, which is not below the model's directory"
            ),
        }),
    }
}

fn verify(dir: &StageDir, path: &Path, file: &ObjectRef) -> Result<(), ReadError> {
    let (mut hash, mut bytes) = (Sha256::new(), 0_i64);
    let scanned = super::store::scan_file(path, &mut |chunk| {
        hash.update(chunk);
        bytes += chunk.len() as i64;
    });
    match scanned {
        Err(StoreError::NotFound { .. }) => return Err(corrupted(dir, file, "it is missing")),
        result => result?,
    }
    if bytes != file.bytes {
        return Err(corrupted(
            dir,
            file,
            &format!("it has {bytes} bytes instead of {}", file.bytes),
        ));
    }
    match hex(&hash.finalize()) == file.sha256 {
        true => Ok(()),
        false => Err(corrupted(dir, file, "its bytes do not match its digest")),
    }
}

fn corrupted(dir: &StageDir, file: &ObjectRef, problem: &str) -> ReadError {
    dir.corrupted(&format!("objects/{}", file.sha256), problem)
}

fn link(object: &Path, target: &Path) -> std::io::Result<()> {
    if fs::read_link(target).is_ok_and(|existing| existing == object) {
        return Ok(());
    }
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    // Renamed into place: two workers may share the cache.
    let temporary = target.with_file_name(format!(
        ".link-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    std::os::unix::fs::symlink(object, &temporary)?;
    fs::rename(&temporary, target)
}

#[cfg(test)]
mod tests;
