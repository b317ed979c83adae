//! One interface to a directory and to object stores (S3, Google Cloud, Azure): objects are listed, created once, replaced atomically and read in
//! chunks. Calls block: the rest of the worker needs no async. It knows nothing of stages.

mod access;

mod directory;

mod error;

mod objects;

mod retry;

mod runtime;

mod temporary;

mod upload;

mod write_probe;

use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

pub use access::Access;
use directory::Directory;
pub use error::StoreError;
use objects::ObjectPrefix;
pub use write_probe::DISK_PROBE_BYTES;

/// A directory or a prefix of an object store. Cheap to clone.
///
/// Paths are relative, with `/` between their parts. Every write is atomic.
#[derive(Clone, Debug)]
pub struct Store {
    location: Arc<str>,
    backend: Backend,
}

#[derive(Clone, Debug)]
enum Backend {
    Directory(Arc<Directory>),
    ObjectStore(Arc<ObjectPrefix>),
}

/// The outcome of [`Store::put_new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object was created.
    Created,
    /// An object of that name existed and was not changed.
    AlreadyExists {
        /// Whether it has the same bytes, as after a lost reply or a concurrent write of the same content.
        same: bool,
    },
}

impl PutOutcome {
    /// Whether the object now has the content that was to be written.
    pub fn has_content(self) -> bool {
        self != PutOutcome::AlreadyExists { same: false }
    }
}

/// An object listed by [`Store::list`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectEntry {
    /// Path relative to the store.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// Metadata of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectStat {
    /// Size in bytes.
    pub bytes: u64,
    /// The store's name for this version of the object; a directory has no versions.
    pub version: Option<String>,
}

/// Content to write: bytes in memory, or a local file that is read in chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// In memory.
    Bytes(Bytes),
    /// A local file; it is not removed.
    File(PathBuf),
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Content::Bytes(bytes.into())
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Content::Bytes(bytes)
    }
}

impl From<PathBuf> for Content {
    fn from(path: PathBuf) -> Self {
        Content::File(path)
    }
}

impl Store {
    /// Opens a directory (created by the first write) or an `s3://`, `gs://` or `az://` URI. Credentials and endpoint come
    /// from the usual environment variables (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`,
    /// `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_ACCOUNT_NAME`, ...). Nothing is read or written yet.
    pub fn open(location: &str) -> Result<Store, StoreError> {
        Self::open_with(location, &Access::from_env())
    }

    /// Like [`Store::open`], with other settings than those of this process.
    pub fn open_with(location: &str, access: &Access) -> Result<Store, StoreError> {
        let backend = if location.contains("://") && !location.starts_with("file://") {
            Backend::ObjectStore(Arc::new(ObjectPrefix::open(location, access)?))
        } else {
            let path = location.strip_prefix("file://").unwrap_or(location);
            Backend::Directory(Arc::new(Directory::open(Path::new(path))?))
        };
        Ok(Store {
            location: location.trim_end_matches('/').into(),
            backend,
        })
    }

    /// Returns the location as it was opened.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Returns the full path or URI of the object at `path`, for messages.
    pub fn describe(&self, path: &str) -> String {
        match path.is_empty() {
            true => self.location.to_string(),
            false => format!("{}/{path}", self.location),
        }
    }

    /// Reads the object at `path`.
    pub fn get(&self, path: &str) -> Result<Bytes, StoreError> {
        self.get_if_present(path)?
            .ok_or_else(|| StoreError::NotFound {
                object: self.describe(path),
            })
    }

    /// Reads the object at `path`; `None` if it does not exist.
    pub fn get_if_present(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        self.check(path)?;
        match &self.backend {
            Backend::Directory(directory) => directory.get(path),
            Backend::ObjectStore(objects) => objects.get(path),
        }
    }

    /// Passes the object at `path` to `take` in chunks; returns whether it exists.
    pub fn scan(&self, path: &str, take: &mut dyn FnMut(&[u8])) -> Result<bool, StoreError> {
        self.check(path)?;
        match &self.backend {
            Backend::Directory(directory) => directory.scan(path, take),
            Backend::ObjectStore(objects) => objects.scan(path, take),
        }
    }

    /// Copies the object at `path` to the local file `target`, atomically.
    pub fn download(&self, path: &str, target: &Path) -> Result<(), StoreError> {
        let fail = |e| StoreError::from_io("write", target, e);
        let mut download = temporary::TemporaryFile::create_for(target).map_err(fail)?;
        let mut written = Ok(());
        let present = self.scan(path, &mut |chunk| {
            if written.is_ok() {
                written = download.write(chunk);
            }
        })?;
        written.map_err(fail)?;
        match present {
            true => download.replace(target).map_err(fail),
            false => Err(StoreError::NotFound {
                object: self.describe(path),
            }),
        }
    }

    /// Returns the size in bytes of the object at `path`; `None` if it does not exist.
    pub fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.stat(path)?.map(|stat| stat.bytes))
    }

    /// Returns size and version of the object at `path`; `None` if it does not exist.
    pub fn stat(&self, path: &str) -> Result<Option<ObjectStat>, StoreError> {
        self.check(path)?;
        match &self.backend {
            Backend::Directory(directory) => {
                let bytes = directory.size(path)?;
                Ok(bytes.map(|bytes| ObjectStat {
                    bytes,
                    version: None,
                }))
            }
            Backend::ObjectStore(objects) => objects.stat(path),
        }
    }

    /// Reads `range` of the object at `path` if it still has that version; fewer bytes if the object is shorter.
    pub fn read_range(
        &self,
        path: &str,
        range: Range<u64>,
        version: Option<&str>,
    ) -> Result<Bytes, StoreError> {
        self.check(path)?;
        match &self.backend {
            Backend::Directory(directory) => directory.read_range(path, range),
            Backend::ObjectStore(objects) => objects.read_range(path, range, version),
        }
    }

    /// Whether there is an object at `path`.
    pub fn exists(&self, path: &str) -> Result<bool, StoreError> {
        Ok(self.size(path)?.is_some())
    }

    /// Writes `content` to `path` and replaces an existing object.
    pub fn put(&self, path: &str, content: impl Into<Content>) -> Result<(), StoreError> {
        self.check(path)?;
        match &self.backend {
            Backend::Directory(directory) => directory.put(path, &content.into()),
            Backend::ObjectStore(objects) => objects.put(path, &content.into()),
        }
    }

    /// Writes `content` to `path` unless an object exists there. A large file is uploaded to an object store in parts, which cannot be
    /// conditional: a concurrent writer may write too, so name such objects by their digest.
    pub fn put_new(
        &self,
        path: &str,
        content: impl Into<Content>,
    ) -> Result<PutOutcome, StoreError> {
        self.check(path)?;
        match &self.backend {
            Backend::Directory(directory) => directory.put_new(path, &content.into()),
            Backend::ObjectStore(objects) => objects.put_new(path, &content.into()),
        }
    }

    /// Lists all objects below `prefix` (a path, not the beginning of a name; empty for all), sorted by path.
    pub fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>, StoreError> {
        let prefix = prefix.trim_end_matches('/');
        if !prefix.is_empty() {
            self.check(prefix)?;
        }
        let mut entries = match &self.backend {
            Backend::Directory(directory) => directory.list(prefix)?,
            Backend::ObjectStore(objects) => objects.list(prefix)?,
        };
        entries.sort();
        Ok(entries)
    }

    /// Whether there is no object below `prefix`. Lists at most one object, so it is fast for millions too. Empty folders may count as objects.
    pub fn is_empty_below(&self, prefix: &str) -> Result<bool, StoreError> {
        self.check(prefix)?;
        match &self.backend {
            Backend::Directory(directory) => directory.is_empty_below(prefix),
            Backend::ObjectStore(objects) => objects.is_empty_below(prefix),
        }
    }

    /// Removes the object at `path`; it need not exist.
    pub fn delete(&self, path: &str) -> Result<(), StoreError> {
        self.check(path)?;
        match &self.backend {
            Backend::Directory(directory) => directory.delete(path),
            Backend::ObjectStore(objects) => objects.delete(path),
        }
    }

    /// Removes all objects below `prefix`, and in a directory the empty folders too.
    pub fn delete_below(&self, prefix: &str) -> Result<(), StoreError> {
        for entry in self.list(prefix)? {
            self.delete(&entry.path)?;
        }
        match &self.backend {
            Backend::Directory(directory) => directory.remove_empty_folders(prefix),
            Backend::ObjectStore(_) => Ok(()),
        }
    }

    /// Returns the local path of `path`; `None` if the store is not a directory.
    pub fn local_path(&self, path: &str) -> Option<PathBuf> {
        match &self.backend {
            Backend::Directory(directory) => Some(directory.file(path)),
            Backend::ObjectStore(_) => None,
        }
    }

    fn check(&self, path: &str) -> Result<(), StoreError> {
        let odd = |part: &str| {
            part.is_empty() || part == "." || part == ".." || part.contains(['\\', '\0'])
        };
        match path.split('/').any(odd) {
            true => Err(StoreError::Location {
                location: self.describe(path),
                problem: "a path below a store has non-empty parts other than . and ..".into(),
            }),
            false => Ok(()),
        }
    }
}

/// Reads the file at a path or a URI.
pub fn read_location(location: &str, access: &Access) -> Result<Bytes, StoreError> {
    if location.contains("://") && !location.starts_with("file://") {
        return ObjectPrefix::open(location, access)?.get_root();
    }
    let path = Path::new(location.strip_prefix("file://").unwrap_or(location));
    std::fs::read(path)
        .map(Bytes::from)
        .map_err(|e| StoreError::from_io("read", path, e))
}

/// Reads at most the first `bytes` bytes of the file at a path or a URI.
pub fn read_location_start(
    location: &str,
    access: &Access,
    bytes: u64,
) -> Result<Bytes, StoreError> {
    if location.contains("://") && !location.starts_with("file://") {
        return ObjectPrefix::open(location, access)?.get_root_start(bytes);
    }
    let path = Path::new(location.strip_prefix("file://").unwrap_or(location));
    read_file_start(path, bytes).map_err(|e| StoreError::from_io("read", path, e))
}

/// Reads at most the first `bytes` bytes of a local file.
pub fn read_file_start(path: &Path, bytes: u64) -> std::io::Result<Bytes> {
    let mut start = Vec::new();
    std::io::Read::take(std::fs::File::open(path)?, bytes).read_to_end(&mut start)?;
    Ok(start.into())
}

/// Passes the bytes of a local file to `take` in chunks.
pub fn scan_file(path: &Path, take: &mut dyn FnMut(&[u8])) -> Result<(), StoreError> {
    match directory::scan_file(path, take) {
        Ok(true) => Ok(()),
        Ok(false) => Err(StoreError::NotFound {
            object: path.display().to_string(),
        }),
        Err(error) => Err(StoreError::from_io("read", path, error)),
    }
}

#[cfg(test)]
mod tests;
