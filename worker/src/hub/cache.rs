//! The model cache: one folder per model, renamed into place when its download is complete. A download goes to a `.part` folder, which a later
//! attempt resumes, under a file lock that the kernel releases when the process ends.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use scalequest_crds::digest::sha256_hex;
use serde::{Deserialize, Serialize};

use super::retry::sleep;
use super::select::FileSet;
use super::{FetchError, ProgressCallback, Timeouts, entry};

/// The file in a model's folder that lists the model's files.
const MANIFEST: &str = ".scalequest-model.json";

/// Interval of attempts at a lock that another process holds.
const LOCK_POLL: Duration = Duration::from_millis(300);

/// The folder of the cache.
pub(super) struct Cache {
    root: PathBuf,
}

/// The exclusive right to download a model.
pub(super) struct CacheLock {
    folder: String,
    _lock: File,
}

/// The files of a cached model.
#[derive(Serialize, Deserialize)]
struct Manifest {
    /// Where the model came from, for users.
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gguf: Option<String>,
    /// Sizes by name.
    files: BTreeMap<String, u64>,
}

/// Returns a folder name that starts with a plain form of `readable` and is unique to `identity`.
pub(super) fn folder_name(kind: &str, readable: &str, identity: &str) -> String {
    let after_scheme = readable
        .split_once("://")
        .map_or(readable, |(_, rest)| rest);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let plain: String = after_scheme
        .chars()
        .take(80)
        .map(|c| if is_plain(c) { c } else { '-' })
        .collect();
    format!("{kind}-{plain}-{}", &sha256_hex(identity.as_bytes())[..16])
}

impl Cache {
    /// The cache in the folder `root`.
    pub(super) fn new(root: &Path) -> Self {
        Cache { root: root.into() }
    }

    /// Returns the path of the model in `folder`; `None` if it is not cached with all its files.
    pub(super) fn find(&self, folder: &str) -> Option<PathBuf> {
        let path = self.root.join(folder);
        let manifest: Manifest =
            serde_json::from_slice(&fs::read(path.join(MANIFEST)).ok()?).ok()?;
        let is_present = |(name, bytes): (&String, &u64)| {
            fs::metadata(path.join(name)).is_ok_and(|found| found.len() == *bytes)
        };
        let is_complete = manifest.files.iter().all(is_present);
        is_complete.then(|| entry(&path, manifest.gguf.as_deref()))
    }

    /// Returns the folder of the latest download from a location whose content may change.
    pub(super) fn latest(&self, location: &str) -> Option<String> {
        let name = fs::read_to_string(self.root.join(format!("{location}.latest"))).ok()?;
        Some(name).filter(|name| !name.is_empty() && !name.contains('/'))
    }

    /// Records the folder of the latest download from such a location.
    pub(super) fn set_latest(&self, location: &str, folder: &str) -> Result<(), FetchError> {
        if self.latest(location).as_deref() == Some(folder) {
            return Ok(());
        }
        let path = self.root.join(format!("{location}.latest"));
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.root)?;
            file.write_all(folder.as_bytes())?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|error| FetchError::from_io("write", &path, error))
    }

    /// Locks the model; waits while another process downloads it and makes progress.
    ///
    /// # Errors
    /// The other process makes no progress within the retry timeout, or a stop was requested.
    pub(super) fn lock(
        &self,
        folder: &str,
        name: &str,
        timeouts: Timeouts,
        progress: &ProgressCallback<'_>,
    ) -> Result<CacheLock, FetchError> {
        let path = self.root.join(format!("{folder}.lock"));
        let fail = |error| FetchError::from_io("write", &path, error);
        fs::create_dir_all(&self.root).map_err(fail)?;
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true);
        let file = file.open(&path).map_err(fail)?;
        let (mut downloaded, mut since) = (0, Instant::now());
        loop {
            match file.try_lock() {
                Ok(()) => {
                    return Ok(CacheLock {
                        folder: folder.into(),
                        _lock: file,
                    });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(FetchError::defective(format!(
                        "cannot lock {}: {error}: set SCALEQUEST_CACHE to a folder on a file system that supports locks",
                        path.display()
                    )));
                }
            }
            let now = folder_bytes(&self.partial(folder));
            if now != downloaded {
                (downloaded, since) = (now, Instant::now());
            }
            if since.elapsed() > timeouts.retry {
                return Err(FetchError::Unavailable(format!(
                    "{name}: another process has locked {} and downloaded nothing for {} s: end it, then run the same again",
                    path.display(),
                    timeouts.retry.as_secs()
                )));
            }
            (progress.report)("wait for the download of another process", downloaded, 0);
            sleep(LOCK_POLL, progress)?;
        }
    }

    /// Creates the model's `.part` folder and returns its path. An incomplete model folder becomes the `.part` folder.
    pub(super) fn prepare_download(&self, lock: &CacheLock) -> Result<PathBuf, FetchError> {
        let (complete, partial) = (self.root.join(&lock.folder), self.partial(&lock.folder));
        let prepare = || -> io::Result<()> {
            if complete.is_dir() {
                tracing::warn!(folder = %complete.display(), "a cached model is incomplete, downloading its missing files");
                if partial.is_dir() {
                    fs::remove_dir_all(&complete)?;
                } else {
                    fs::rename(&complete, &partial)?;
                }
            }
            fs::create_dir_all(&partial)
        };
        prepare().map_err(|error| FetchError::from_io("write", &partial, error))?;
        Ok(partial)
    }

    /// Renames a complete download to its model's folder and returns the model's path.
    pub(super) fn finish_download(
        &self,
        lock: &CacheLock,
        name: &str,
        downloaded: &FileSet,
    ) -> Result<PathBuf, FetchError> {
        let (complete, partial) = (self.root.join(&lock.folder), self.partial(&lock.folder));
        let files = downloaded.files.iter();
        let manifest = Manifest {
            source: name.into(),
            gguf: downloaded.gguf.clone(),
            files: files.map(|file| (file.name.clone(), file.bytes)).collect(),
        };
        let finish = || -> io::Result<()> {
            remove_others(&partial, &manifest.files)?;
            let mut file = File::create(partial.join(MANIFEST))?;
            file.write_all(&serde_json::to_vec_pretty(&manifest)?)?;
            file.sync_all()?;
            File::open(&partial)?.sync_all()?;
            fs::rename(&partial, &complete)?;
            File::open(&self.root)?.sync_all()
        };
        finish().map_err(|error| FetchError::from_io("write", &complete, error))?;
        Ok(entry(&complete, downloaded.gguf.as_deref()))
    }

    /// Returns the path of the folder to which a model is downloaded.
    pub(super) fn partial(&self, folder: &str) -> PathBuf {
        self.root.join(format!("{folder}.part"))
    }
}

/// Removes files that are not the model's: its readers would take a folder with more files for another model.
fn remove_others(folder: &Path, files: &BTreeMap<String, u64>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_known = entry
            .file_name()
            .to_str()
            .is_some_and(|name| files.contains_key(name));
        if !is_known && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Returns the bytes of all files in a folder.
fn folder_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| Some(entry.metadata().ok()?.len()));
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::super::file::{Identity, RemoteFile};
    use super::*;

    const PROGRESS: ProgressCallback<'_> = ProgressCallback {
        report: &|_, _, _| {},
        is_stopped: &|| false,
    };

    const SHORT: Timeouts = Timeouts {
        read: Duration::from_secs(1),
        retry: Duration::from_secs(1),
    };

    fn file_set() -> FileSet {
        let file = |name: &str| RemoteFile {
            name: name.into(),
            bytes: 2,
            identity: Identity::Version(None),
        };
        FileSet {
            files: vec![file("config.json"), file("x.gguf")],
            gguf: None,
        }
    }

    fn download(cache: &Cache) -> PathBuf {
        let lock = cache.lock("m", "m", SHORT, &PROGRESS).unwrap();
        let partial = cache.prepare_download(&lock).unwrap();
        for name in ["config.json", "x.gguf", "left-over.partial"] {
            fs::write(partial.join(name), "{}").unwrap();
        }
        cache.finish_download(&lock, "m", &file_set()).unwrap()
    }

    #[test]
    fn cache_finds_only_complete_models() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(&root.path().join("models"));
        assert_eq!(cache.find("m"), None);
        let path = download(&cache);
        assert_eq!(cache.find("m"), Some(path.clone()));
        assert!(!path.join("left-over.partial").exists());
        fs::write(path.join("config.json"), "cut").unwrap();
        assert_eq!(cache.find("m"), None);
        let lock = cache.lock("m", "m", SHORT, &PROGRESS).unwrap();
        let partial = cache.prepare_download(&lock).unwrap();
        assert!(partial.join("x.gguf").is_file() && !path.exists());
    }

    #[test]
    fn cache_lock_is_exclusive_and_times_out() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path());
        let lock = cache.lock("m", "m", SHORT, &PROGRESS).unwrap();
        let error = cache.lock("m", "m", SHORT, &PROGRESS).err().unwrap();
        assert!(error.to_string().contains("another process"), "{error}");
        let stopped = ProgressCallback {
            is_stopped: &|| true,
            ..PROGRESS
        };
        let error = cache.lock("m", "m", SHORT, &stopped).err().unwrap();
        assert!(matches!(error, FetchError::Stopped));
        cache.lock("another", "another", SHORT, &PROGRESS).unwrap();
        drop(lock);
        cache.lock("m", "m", SHORT, &PROGRESS).unwrap();
    }

    #[test]
    fn cache_folder_names_are_plain() {
        let name = folder_name("hub", "hf://../../etc/passwd@x\0y", "identity");
        assert!(name.starts_with("hub-..-..-etc-passwd-x-y-"), "{name}");
        assert!(folder_name("uri", &"ä".repeat(5000), "x").len() < 120);
        assert_ne!(folder_name("uri", "a", "1"), folder_name("uri", "a", "2"));
    }

    #[test]
    fn cache_records_latest_folder() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path());
        assert_eq!(cache.latest("p"), None);
        for folder in ["one", "one", "two"] {
            cache.set_latest("p", folder).unwrap();
            assert_eq!(cache.latest("p").as_deref(), Some(folder));
        }
        fs::write(root.path().join("p.latest"), "../elsewhere").unwrap();
        assert_eq!(cache.latest("p"), None);
    }
}
