//! A folder for files on their way to the workspace, removed with the value. What killed workers left behind on this machine is
//! swept by the next one.

use std::path::{Path, PathBuf};

use super::StageError;

const PREFIX: &str = "scalequest-worker-";

/// A folder of this process.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes an empty folder below the system's folder for temporary files (`TMPDIR`).
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new() -> Result<Self, StageError> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let base = std::env::temp_dir();
        sweep(&base);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = base.join(format!("{PREFIX}{}-{number}", std::process::id()));
        make(&path)?;
        Ok(Scratch(path))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A new folder in it.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf, StageError> {
        let path = self.0.join(name);
        make(&path)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn make(path: &Path) -> Result<(), StageError> {
    std::fs::create_dir_all(path).map_err(|error| {
        let message = format!(
            "cannot make {}: {error}; set TMPDIR to a folder with room",
            path.display()
        );
        StageError::world(&error, message)
    })
}

/// Removes the folders of processes that are no more.
fn sweep(base: &Path) {
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
