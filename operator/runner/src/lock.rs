//! Locks on files, which the kernel releases when their holder dies, however it dies: one runner runs a run, one run computes
//! a stage. A lock must never need hand work.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;

/// A lock that is held until it is dropped, or its process is gone.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why a lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds it.
    #[error("held by {holder}")]
    Held {
        /// What the holder says of itself: `process 1234`, and which run it runs.
        holder: String,
    },
    /// The file could not be used.
    #[error("cannot lock {path}: {source}")]
    Io {
        /// The lock's file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock at `path`, whose directory must exist, and writes `process <pid> (<note>)` into it for others to read.
    pub fn take(path: &Path, note: &str) -> Result<Lock, LockError> {
        let io = |source| LockError::Io {
            path: path.display().to_string(),
            source,
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = read_holder(path);
                return Err(LockError::Held { holder });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).map_err(io)?;
        write!(file, "process {} ({note})", std::process::id()).map_err(io)?;
        Ok(Lock { _file: file })
    }

    /// Whether somebody holds the lock at `path`. A file that is not there is not held.
    pub fn is_held(path: &Path) -> bool {
        let Ok(file) = File::open(path) else {
            return false;
        };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}

/// What the holder of the lock wrote into its file.
fn read_holder(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    match text.trim() {
        "" => "another process".into(),
        holder => holder.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn held_lock_names_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = Lock::take(&path, "run a").unwrap();
        let error = Lock::take(&path, "run b").unwrap_err().to_string();
        assert_eq!(
            error,
            format!("held by process {} (run a)", std::process::id())
        );
        assert!(Lock::is_held(&path));
        drop(held);
        // A child that another test spawns at this moment shares the locked file until it executes its program.
        let is_released = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            Lock::take(&path, "run b").is_ok()
        });
        assert!(is_released);
    }

    #[test]
    fn lock_ends_with_its_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let file = File::create(&path).unwrap();
        file.lock().unwrap();
        // The child shares the locked file as its standard error, and so holds the lock alone once ours is closed.
        let mut child = Command::new("sleep")
            .arg("600")
            .stderr(Stdio::from(file))
            .spawn()
            .unwrap();
        assert!(matches!(
            Lock::take(&path, "us"),
            Err(LockError::Held { .. })
        ));
        child.kill().unwrap();
        child.wait().unwrap();
        Lock::take(&path, "us").unwrap();
    }
}
