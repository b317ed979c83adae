//! Checks that a store can be written, by an object that is deleted again. It knows nothing of stages.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::temporary::TEMPORARY_PREFIX;
use super::{PutOutcome, Store, StoreError};

/// Size of an object that finds out whether a disk or a quota is full. Object stores accept it in a single request.
pub const DISK_PROBE_BYTES: usize = 16 << 20;

impl Store {
    /// Checks that objects can be created and deleted below `folder` (empty for the root): writes `bytes` random bytes, which
    /// neither a file system nor a store can compress, and deletes them and the folders created for them.
    ///
    /// The object has the prefix of temporary files and a fixed name: listings of a directory skip it, no reader of an object
    /// store expects it, and after a crash in between the next check replaces and deletes it.
    ///
    /// # Errors
    /// Those of the write or, with `delete` as their operation, of the deletion.
    pub fn check_writable(&self, folder: &str, bytes: usize) -> Result<(), StoreError> {
        let name = format!("{TEMPORARY_PREFIX}write-probe");
        let path = match folder.trim_end_matches('/') {
            "" => name,
            folder => format!("{folder}/{name}"),
        };
        let created = self
            .local_path(&path)
            .map_or_else(Vec::new, |file| missing_parents(&file));
        let checked = self
            .write_probe(&path, random_bytes(bytes))
            .and_then(|()| self.delete(&path));
        for folder in created {
            // A folder to which another process has written meanwhile stays.
            if std::fs::remove_dir(folder).is_err() {
                break;
            }
        }
        checked
    }

    /// Writes as a commit does: creates the object, and replaces one that an interrupted check has left.
    fn write_probe(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        match self.put_new(path, bytes.clone())? {
            PutOutcome::Created => Ok(()),
            PutOutcome::AlreadyExists { .. } => self.put(path, bytes),
        }
    }
}

/// Returns the folders above `file` that do not exist, innermost first.
fn missing_parents(file: &Path) -> Vec<PathBuf> {
    file.ancestors()
        .skip(1)
        .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
        .map(Path::to_path_buf)
        .collect()
}

/// Returns `count` bytes that no compression shortens (xorshift64*).
fn random_bytes(count: usize) -> Bytes {
    let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), count);
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(count.next_multiple_of(8));
    while bytes.len() < count {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(count);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_probe_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("not/yet");
        let store = Store::open(root.to_str().unwrap()).unwrap();
        store.check_writable("stages/x", 1000).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        store
            .put("stages/x/object", Bytes::from_static(b"x"))
            .unwrap();
        store.check_writable("stages/x", 1000).unwrap();
        store.check_writable("", 0).unwrap();
        let left = std::fs::read_dir(root.join("stages/x")).unwrap();
        assert_eq!(left.count(), 1);
    }

    #[test]
    fn write_probe_replaces_the_one_of_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        let left = folder.path().join(format!("{TEMPORARY_PREFIX}write-probe"));
        std::fs::write(&left, "torn").unwrap();
        assert_eq!(store.list("").unwrap(), []);
        store.check_writable("", 8).unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn write_probe_fails_below_a_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("stages"), "a file").unwrap();
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        let error = store.check_writable("stages/x", 8).unwrap_err();
        let expected = store.put("stages/x/object", Bytes::new()).unwrap_err();
        assert_eq!(error.cause(), expected.cause());
    }

    #[test]
    fn random_bytes_do_not_repeat() {
        let bytes = random_bytes(4099);
        assert_eq!(bytes.len(), 4099);
        assert_ne!(bytes[..2048], bytes[2048..4096]);
    }
}
