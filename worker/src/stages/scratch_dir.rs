//! A temporary directory for files on their way to the workspace, removed with the value. Directories that killed workers left
//! on this machine are removed by the next worker.

use std::path::{Path, PathBuf};

use super::StageError;

const PREFIX: &str = "scalequest-worker-";

/// A temporary directory of this process.
#[derive(Debug)]
pub struct ScratchDir(PathBuf);

impl ScratchDir {
    /// Creates an empty directory below the system's directory for temporary files (`TMPDIR`).
    ///
    /// # Errors
    /// The directory cannot be created.
    pub fn new() -> Result<Self, StageError> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let base = std::env::temp_dir();
        remove_stale(&base);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = base.join(format!("{PREFIX}{}-{number}", std::process::id()));
        create(&path)?;
        Ok(ScratchDir(path))
    }

    /// Returns the directory's path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Creates a directory in it.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub fn create_dir(&self, name: &str) -> Result<PathBuf, StageError> {
        let path = self.0.join(name);
        create(&path)?;
        Ok(path)
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn create(path: &Path) -> Result<(), StageError> {
    std::fs::create_dir_all(path).map_err(|error| {
        let message = format!(
            "cannot create {}: {error}; set TMPDIR to a directory with free space",
            path.display()
        );
        StageError::retryable(&error, message)
    })
}

/// Removes the directories of processes that no longer exist.
fn remove_stale(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| {
            name.strip_prefix(PREFIX)?
                .split('-')
                .next()?
                .parse::<u32>()
                .ok()
        });
        if process.is_some_and(|process| {
            Path::new("/proc/self").exists() && !Path::new(&format!("/proc/{process}")).exists()
        }) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
