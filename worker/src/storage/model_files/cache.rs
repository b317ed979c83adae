//! The cache of trained models from an object store: the most recently used ones stay on this machine for later workers. A model in use is locked
//! and not evicted. It does not know what the files contain.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use scalequest_crds::v1alpha1::Stage;

use super::fetch;
use crate::storage::store::{Store, StoreError};
use crate::storage::workspace::ReadError;

/// Number of cached models: two generators after QFT and after QPO, a scorer, and one of another run.
pub const MAX_CACHED_MODELS: usize = 6;

/// A model in the cache, which is not evicted while this value lives.
#[derive(Debug)]
pub struct CachedModel {
    folder: PathBuf,
    _lock: File,
}

impl CachedModel {
    /// Returns the model's directory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Like [`fetch`], for an object store: the model stays in `cache`. The least recently used models are evicted if there are more than
/// [`MAX_CACHED_MODELS`].
///
/// # Errors
/// As [`fetch`], or the cache cannot be written.
pub fn fetch_cached(
    store: &Store,
    stage: Stage,
    key: &str,
    cache: &Path,
) -> Result<CachedModel, ReadError> {
    let name = format!("{}-{key}", stage.slug());
    let mark = cache.join(format!("{name}.used"));
    let lock = lock(&mark).map_err(|error| StoreError::from_io("write", &mark, error))?;
    evict(cache, &name);
    Ok(CachedModel {
        folder: fetch(store, stage, key, cache)?,
        _lock: lock,
    })
}

/// Locks a model's marker file while it is in use, and sets the file's time to its last use.
fn lock(mark: &Path) -> io::Result<File> {
    if let Some(cache) = mark.parent() {
        fs::create_dir_all(cache)?;
    }
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(mark)?;
    file.lock_shared()?;
    file.set_modified(SystemTime::now())?;
    Ok(file)
}

/// Evicts the least recently used models, except `name` and those in use. A failure to remove one is ignored.
fn evict(cache: &Path, name: &str) {
    let Ok(entries) = fs::read_dir(cache) else {
        return;
    };
    let mut others: Vec<(SystemTime, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let mark = entry.path();
            let is_other = mark.extension().is_some_and(|ending| ending == "used")
                && mark.file_stem().is_some_and(|stem| stem != name)
                && mark.with_extension("").is_dir();
            let used = entry.metadata().ok()?.modified().ok()?;
            is_other.then_some((used, mark))
        })
        .collect();
    others.sort();
    let surplus = (others.len() + 1).saturating_sub(MAX_CACHED_MODELS);
    for (_, mark) in others.into_iter().take(surplus) {
        // The marker file stays: another process may be waiting for its lock.
        let is_unused = File::open(&mark).is_ok_and(|file| {
            let is_unused = file.try_lock().is_ok();
            if is_unused {
                let _ = fs::remove_dir_all(mark.with_extension(""));
            }
            is_unused
        });
        tracing::debug!(model = %mark.display(), evicted = is_unused, "evicting a cached model");
    }
}
