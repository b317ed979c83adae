//! One interface to a directory and to object stores (S3, Google Cloud, Azure): small whole objects, listed, created
//! once, replaced whole, read in pieces. Calls block: the rest of the worker needs no async. It knows nothing of stages.

mod access;

mod directory;

mod error;

mod objects;

mod repeat;

mod runtime;

mod temporary;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

pub use access::Access;
use directory::Directory;
pub use error::StoreError;
use objects::Objects;

/// A directory or a prefix of an object store. Cheap to clone.
///
/// Paths are relative, with `/` between their parts. Every write appears whole or not at all.
#[derive(Clone, Debug)]
pub struct Store {
    location: Arc<str>,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Directory(Arc<Directory>),
    Objects(Arc<Objects>),
}

/// What [`Store::put_new`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The object is new.
    Created,
    /// An object of that name lay there and was left alone.
    AlreadyThere {
        /// Whether it holds the very same bytes, as after a lost reply or beside a twin.
        same: bool,
    },
}

impl Created {
    /// Whether the object now holds what was to be written.
    pub fn holds(self) -> bool {
        self != Created::AlreadyThere { same: false }
    }
}

/// An object found by [`Store::list`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Path relative to the store.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Size in bytes.
    pub bytes: u64,
    /// What the store calls this version of it; a directory has no versions.
    pub version: Option<String>,
}

/// What is to be written: bytes in memory, or a local file that is read piece by piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// In memory.
    Bytes(Bytes),
    /// A local file; it stays.
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
    /// Opens a directory (made when first written to) or an `s3://`, `gs://` or `az://` URI. Credentials and endpoint come
    /// from the usual environment variables (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`,
    /// `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_ACCOUNT_NAME`, ...). Nothing is read or written yet.
    pub fn open(location: &str) -> Result<Store, StoreError> {
        Self::open_with(location, &Access::from_env())
    }

    /// Like [`Store::open`], with other settings than those of this process.
    pub fn open_with(location: &str, access: &Access) -> Result<Store, StoreError> {
        let place = if location.contains("://") && !location.starts_with("file://") {
            Place::Objects(Arc::new(Objects::open(location, access)?))
        } else {
            let path = location.strip_prefix("file://").unwrap_or(location);
            Place::Directory(Arc::new(Directory::open(Path::new(path))?))
        };
        Ok(Store {
            location: location.trim_end_matches('/').into(),
            place,
        })
    }

    /// The location as it was opened.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Full path or URI of the object at `path`, for messages.
    pub fn describe(&self, path: &str) -> String {
        match path.is_empty() {
            true => self.location.to_string(),
            false => format!("{}/{path}", self.location),
        }
    }

    /// The bytes at `path`.
    pub fn get(&self, path: &str) -> Result<Bytes, StoreError> {
        self.get_if_present(path)?
            .ok_or_else(|| StoreError::NotFound {
                object: self.describe(path),
            })
    }

    /// The bytes at `path`, if it is there.
    pub fn get_if_present(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        self.check(path)?;
        match &self.place {
            Place::Directory(directory) => directory.get(path),
            Place::Objects(objects) => objects.get(path),
        }
    }

    /// Gives the bytes at `path` to `take`, piece by piece; false if there is no such object.
    pub fn scan(&self, path: &str, take: &mut dyn FnMut(&[u8])) -> Result<bool, StoreError> {
        self.check(path)?;
        match &self.place {
            Place::Directory(directory) => directory.scan(path, take),
            Place::Objects(objects) => objects.scan(path, take),
        }
    }

    /// Copies the object at `path` to the local file `target`, which appears whole or not at all.
    pub fn download(&self, path: &str, target: &Path) -> Result<(), StoreError> {
        let fail = |e| StoreError::from_io("write", target, e);
        let mut download = temporary::Temporary::beside(target).map_err(fail)?;
        let mut written = Ok(());
        let present = self.scan(path, &mut |piece| {
            if written.is_ok() {
                written = download.write(piece);
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

    /// Size in bytes of the object at `path`, if it is there.
    pub fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.stat(path)?.map(|stat| stat.bytes))
    }

    /// Size and version of the object at `path`, if it is there.
    pub fn stat(&self, path: &str) -> Result<Option<Stat>, StoreError> {
        self.check(path)?;
        match &self.place {
            Place::Directory(directory) => {
                let bytes = directory.size(path)?;
                Ok(bytes.map(|bytes| Stat {
                    bytes,
                    version: None,
                }))
            }
            Place::Objects(objects) => objects.stat(path),
        }
    }

    /// The bytes at `range` of the object at `path`, if it still has that version; fewer where the object ends before.
    pub fn read_range(
        &self,
        path: &str,
        range: Range<u64>,
        version: Option<&str>,
    ) -> Result<Bytes, StoreError> {
        self.check(path)?;
        match &self.place {
            Place::Directory(directory) => directory.read_range(path, range),
            Place::Objects(objects) => objects.read_range(path, range, version),
        }
    }

    /// Whether there is an object at `path`.
    pub fn exists(&self, path: &str) -> Result<bool, StoreError> {
        Ok(self.size(path)?.is_some())
    }

    /// Writes `content` to `path`, in place of what may lie there.
    pub fn put(&self, path: &str, content: impl Into<Content>) -> Result<(), StoreError> {
        self.check(path)?;
        match &self.place {
            Place::Directory(directory) => directory.put(path, &content.into()),
            Place::Objects(objects) => objects.put(path, &content.into()),
        }
    }

    /// Writes `content` to `path` unless an object lies there. In an object store a file goes up in parts where it is
    /// large, which cannot be conditional: then a twin may write at the same time, so name such objects by their digest.
    pub fn put_new(&self, path: &str, content: impl Into<Content>) -> Result<Created, StoreError> {
        self.check(path)?;
        match &self.place {
            Place::Directory(directory) => directory.put_new(path, &content.into()),
            Place::Objects(objects) => objects.put_new(path, &content.into()),
        }
    }

    /// All objects below `prefix` (a path, not the beginning of a name; empty: all), sorted by path.
    pub fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let prefix = prefix.trim_end_matches('/');
        if !prefix.is_empty() {
            self.check(prefix)?;
        }
        let mut entries = match &self.place {
            Place::Directory(directory) => directory.list(prefix)?,
            Place::Objects(objects) => objects.list(prefix)?,
        };
        entries.sort();
        Ok(entries)
    }

    /// Whether no object lies below `prefix`. A list of one: it takes no longer where there are millions. Folders left empty may count as objects.
    pub fn is_empty_below(&self, prefix: &str) -> Result<bool, StoreError> {
        self.check(prefix)?;
        match &self.place {
            Place::Directory(directory) => directory.is_empty_below(prefix),
            Place::Objects(objects) => objects.is_empty_below(prefix),
        }
    }

    /// Removes the object at `path`; none there is fine.
    pub fn delete(&self, path: &str) -> Result<(), StoreError> {
        self.check(path)?;
        match &self.place {
            Place::Directory(directory) => directory.delete(path),
            Place::Objects(objects) => objects.delete(path),
        }
    }

    /// Removes all objects below `prefix`, and in a directory the empty folders too.
    pub fn delete_below(&self, prefix: &str) -> Result<(), StoreError> {
        for entry in self.list(prefix)? {
            self.delete(&entry.path)?;
        }
        match &self.place {
            Place::Directory(directory) => directory.remove_empty_folders(prefix),
            Place::Objects(_) => Ok(()),
        }
    }

    /// Where `path` lies on this machine, if the store is a directory.
    pub fn local_path(&self, path: &str) -> Option<PathBuf> {
        match &self.place {
            Place::Directory(directory) => Some(directory.file(path)),
            Place::Objects(_) => None,
        }
    }

    /// Writes and removes a small object, so that a place that cannot be written to is found before work starts.
    pub fn check_writable(&self) -> Result<(), StoreError> {
        let probe = format!(".scalequest-probe-{}", std::process::id());
        self.put(&probe, Bytes::from_static(b"probe"))?;
        self.delete(&probe)
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

/// Reads a whole file given by a path or a URI.
pub fn read_location(location: &str, access: &Access) -> Result<Bytes, StoreError> {
    if location.contains("://") && !location.starts_with("file://") {
        return Objects::open(location, access)?.get_itself();
    }
    let path = Path::new(location.strip_prefix("file://").unwrap_or(location));
    std::fs::read(path)
        .map(Bytes::from)
        .map_err(|e| StoreError::from_io("read", path, e))
}

/// Gives the bytes of a local file to `take`, piece by piece.
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
