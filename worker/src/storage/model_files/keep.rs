//! Trained models fetched from an object store, kept on this machine for the workers to come: a few, those used last. A model
//! that a process uses is locked and not removed. It does not know what is in them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use scalequest_crds::v1alpha1::Stage;

use super::fetch;
use crate::storage::store::{Store, StoreError};
use crate::storage::workspace::ReadError;

/// Models that stay: two generators after QFT and after QPO, a scorer, and one of another run.
pub const KEPT: usize = 6;

/// A model in the cache, which stays there as long as this value lives.
#[derive(Debug)]
pub struct Kept {
    folder: PathBuf,
    _lock: File,
}

impl Kept {
    /// The model's directory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Like [`fetch`], for a store that is no directory: the model stays in `cache`, of which the models used longest ago are
/// removed where there would be more than [`KEPT`].
///
/// # Errors
/// As [`fetch`], or the cache cannot be written.
pub fn keep(store: &Store, stage: Stage, key: &str, cache: &Path) -> Result<Kept, ReadError> {
    let name = format!("{}-{key}", stage.slug());
    let mark = cache.join(format!("{name}.used"));
    let lock = lock(&mark).map_err(|error| StoreError::from_io("write", &mark, error))?;
    make_room(cache, &name);
    Ok(Kept {
        folder: fetch(store, stage, key, cache)?,
        _lock: lock,
    })
}

/// The mark of a model that is in use: its time says since when, its lock until when.
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

/// Removes the models used longest ago, except `name` and those in use. What cannot be removed stays: it is only a cache.
fn make_room(cache: &Path, name: &str) {
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
    let spare = (others.len() + 1).saturating_sub(KEPT);
    for (_, mark) in others.into_iter().take(spare) {
        // The mark stays: whoever waits for its lock must not hold that of a file that is gone.
        let is_free = File::open(&mark).is_ok_and(|file| {
            let is_free = file.try_lock().is_ok();
            if is_free {
                let _ = fs::remove_dir_all(mark.with_extension(""));
            }
            is_free
        });
        tracing::debug!(model = %mark.display(), removed = is_free, "made room in the cache");
    }
}
