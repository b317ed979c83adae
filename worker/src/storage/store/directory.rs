//! A store in a directory. A write goes to a temporary file, is synced and then renamed to its target, so that a crash or a full disk leaves either
//! the complete object or none. It knows nothing of stages.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;
use scalequest_engine::heartbeat::{CountedReader, beat};

use super::error::present;
use super::temporary::{TEMPORARY_PREFIX, TemporaryFile, remove_stale};
use super::{Content, ObjectEntry, PutOutcome, StoreError};

/// Size of a read.
const CHUNK_BYTES: usize = 1 << 20;

/// See [`super::Store`], which documents each operation.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    /// Folders whose stale temporary files have been removed.
    cleaned: Mutex<HashSet<PathBuf>>,
}

impl Directory {
    pub(super) fn open(root: &Path) -> Result<Self, StoreError> {
        let location = root.display().to_string();
        if root.as_os_str().is_empty() {
            return Err(StoreError::Location {
                location,
                problem: "the path is empty".into(),
            });
        }
        if root.exists() && !root.is_dir() {
            return Err(StoreError::Location {
                location,
                problem: "it is a file: give a directory".into(),
            });
        }
        let root = std::path::absolute(root).map_err(|e| StoreError::from_io("find", root, e))?;
        Ok(Directory {
            root,
            cleaned: Mutex::default(),
        })
    }

    pub(super) fn file(&self, path: &str) -> PathBuf {
        match path.is_empty() {
            true => self.root.clone(),
            false => self.root.join(path),
        }
    }

    pub(super) fn get(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        let file = self.file(path);
        present(fs::read(&file))
            .map(|found| found.map(Bytes::from))
            .map_err(|e| StoreError::from_io("read", &file, e))
    }

    pub(super) fn scan(&self, path: &str, take: &mut dyn FnMut(&[u8])) -> Result<bool, StoreError> {
        let file = self.file(path);
        scan_file(&file, take).map_err(|e| StoreError::from_io("read", &file, e))
    }

    pub(super) fn read_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let file = self.file(path);
        let read = || -> io::Result<Vec<u8>> {
            let mut open = File::open(&file)?;
            open.seek(SeekFrom::Start(range.start))?;
            let mut bytes = Vec::new();
            let length = range.end.saturating_sub(range.start);
            open.take(length).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| StoreError::from_io("read", &file, error))?;
        Ok(bytes.into())
    }

    pub(super) fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        let file = self.file(path);
        let found =
            present(fs::metadata(&file)).map_err(|e| StoreError::from_io("read", &file, e))?;
        Ok(found
            .filter(|metadata| metadata.is_file())
            .map(|metadata| metadata.len()))
    }

    pub(super) fn put(&self, path: &str, content: &Content) -> Result<(), StoreError> {
        let target = self.file(path);
        let write = || self.temporary(&target, content)?.replace(&target);
        write().map_err(|e| StoreError::from_io("write", &target, e))
    }

    pub(super) fn put_new(&self, path: &str, content: &Content) -> Result<PutOutcome, StoreError> {
        let target = self.file(path);
        let write = || -> io::Result<PutOutcome> {
            match !target.exists() && self.temporary(&target, content)?.create(&target)? {
                true => Ok(PutOutcome::Created),
                false => Ok(PutOutcome::AlreadyExists {
                    same: is_same(&target, content)?,
                }),
            }
        };
        write().map_err(|e| StoreError::from_io("write", &target, e))
    }

    pub(super) fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>, StoreError> {
        let mut entries = Vec::new();
        let mut folders = vec![self.file(prefix)];
        while let Some(folder) = folders.pop() {
            self.list_folder(&folder, &mut folders, &mut entries)
                .map_err(|e| StoreError::from_io("list", &folder, e))?;
        }
        Ok(entries)
    }

    pub(super) fn is_empty_below(&self, prefix: &str) -> Result<bool, StoreError> {
        let folder = self.file(prefix);
        let listing =
            present(fs::read_dir(&folder)).map_err(|e| StoreError::from_io("list", &folder, e))?;
        Ok(listing.is_none_or(|mut items| items.next().is_none()))
    }

    pub(super) fn delete(&self, path: &str) -> Result<(), StoreError> {
        let file = self.file(path);
        present(fs::remove_file(&file))
            .map(|_| ())
            .map_err(|e| StoreError::from_io("delete", &file, e))
    }

    pub(super) fn remove_empty_folders(&self, prefix: &str) -> Result<(), StoreError> {
        let folder = self.file(prefix);
        remove_empty(&folder)
            .map(|_| ())
            .map_err(|e| StoreError::from_io("delete", &folder, e))
    }

    fn list_folder(
        &self,
        folder: &Path,
        folders: &mut Vec<PathBuf>,
        entries: &mut Vec<ObjectEntry>,
    ) -> io::Result<()> {
        let Some(listing) = present(fs::read_dir(folder))? else {
            return Ok(());
        };
        for item in listing {
            let item = item?;
            let path = item.path();
            // A file may vanish after it was listed: a temporary file of another worker, or one that is being removed.
            let Some(metadata) = present(fs::metadata(&path))? else {
                continue;
            };
            if metadata.is_dir() {
                folders.push(path);
            } else if !item
                .file_name()
                .to_string_lossy()
                .starts_with(TEMPORARY_PREFIX)
                && let Ok(relative) = path.strip_prefix(&self.root)
            {
                entries.push(ObjectEntry {
                    path: relative.to_string_lossy().into_owned(),
                    bytes: metadata.len(),
                });
            }
        }
        Ok(())
    }

    /// Creates a temporary file with `content` in the folder of `target`.
    fn temporary(&self, target: &Path, content: &Content) -> io::Result<TemporaryFile> {
        let folder = target.parent().unwrap_or(&self.root);
        if self
            .cleaned
            .lock()
            .is_ok_and(|mut cleaned| cleaned.insert(folder.to_path_buf()))
        {
            remove_stale(folder)?;
        }
        let mut temporary = TemporaryFile::create_for(target)?;
        match content {
            Content::Bytes(bytes) => temporary.write(bytes)?,
            Content::File(path) => temporary.copy(&mut CountedReader(File::open(path)?))?,
        }
        Ok(temporary)
    }
}

pub(super) fn scan_file(file: &Path, take: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
    let Some(mut file) = present(File::open(file))? else {
        return Ok(false);
    };
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(true),
            Ok(read) => {
                beat();
                take(&chunk[..read]);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn is_same(target: &Path, content: &Content) -> io::Result<bool> {
    let length = match content {
        Content::Bytes(bytes) => bytes.len() as u64,
        Content::File(path) => fs::metadata(path)?.len(),
    };
    if fs::metadata(target)?.len() != length {
        return Ok(false);
    }
    match content {
        Content::Bytes(bytes) => {
            let (mut at, mut same) = (0, true);
            scan_file(target, &mut |chunk| {
                same &= bytes.get(at..at + chunk.len()) == Some(chunk);
                at += chunk.len();
            })?;
            Ok(same && at == bytes.len())
        }
        Content::File(path) => {
            let mut other = io::BufReader::with_capacity(CHUNK_BYTES, File::open(path)?);
            let mut buffer = Vec::new();
            let mut same = true;
            scan_file(target, &mut |chunk| {
                buffer.resize(chunk.len(), 0);
                same = same && other.read_exact(&mut buffer).is_ok() && buffer == chunk;
            })?;
            Ok(same)
        }
    }
}

/// Removes `folder` and the folders in it if they are empty; returns whether it was removed.
fn remove_empty(folder: &Path) -> io::Result<bool> {
    let Some(listing) = present(fs::read_dir(folder))? else {
        return Ok(true);
    };
    let mut empty = true;
    for item in listing {
        let item = item?;
        empty &= item.file_type()?.is_dir() && remove_empty(&item.path())?;
    }
    if empty {
        // If another process has written to it meanwhile, the folder stays.
        return Ok(present(fs::remove_dir(folder)).is_ok());
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn failed_write_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        let missing = Content::File(folder.path().join("missing"));
        assert!(directory.put("object", &missing).is_err());
        assert!(directory.put_new("object", &missing).is_err());
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }

    #[test]
    fn file_permissions_follow_umask() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        directory
            .put("object", &Content::from(b"x".to_vec()))
            .unwrap();
        fs::write(folder.path().join("plain"), "x").unwrap();
        let mode = |name| {
            fs::metadata(folder.path().join(name))
                .unwrap()
                .permissions()
                .mode()
        };
        assert_eq!(mode("object"), mode("plain"));
    }
}
