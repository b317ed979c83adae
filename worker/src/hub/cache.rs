//! The cache: a folder a model, which appears whole by being renamed. Who fetches a model holds a lock on it, which goes with its process;
//! what it has fetched so far lies in a folder beside, for whoever comes next.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use scalequest_crds::digest::sha256_hex;
use serde::{Deserialize, Serialize};

use super::attempts::sleep;
use super::choose::Chosen;
use super::{FetchError, Patience, Watch, entry};

/// The file in a model's folder that lists what is in it.
const LIST: &str = ".scalequest-model.json";

/// Pause between two looks at what another process holds.
const PAUSE: Duration = Duration::from_millis(300);

/// The folder that holds fetched models.
pub(super) struct Cache {
    root: PathBuf,
}

/// A model that this process fetches, and no other.
pub(super) struct Held {
    folder: String,
    _lock: File,
}

/// What a model's folder holds.
#[derive(Serialize, Deserialize)]
struct List {
    /// Where it came from, for a person.
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gguf: Option<String>,
    /// Sizes by name.
    files: BTreeMap<String, u64>,
}

/// The name of a folder for what `identity` says in full and `readable` for a person.
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
    pub(super) fn new(root: &Path) -> Self {
        Cache { root: root.into() }
    }

    /// The model in `folder`, if it is there with all its files.
    pub(super) fn kept(&self, folder: &str) -> Option<PathBuf> {
        let path = self.root.join(folder);
        let list: List = serde_json::from_slice(&fs::read(path.join(LIST)).ok()?).ok()?;
        let is_there = |(name, bytes): (&String, &u64)| {
            fs::metadata(path.join(name)).is_ok_and(|found| found.len() == *bytes)
        };
        let is_whole = list.files.iter().all(is_there);
        is_whole.then(|| entry(&path, list.gguf.as_deref()))
    }

    /// The folder that was fetched last for a place whose content may change.
    pub(super) fn latest(&self, place: &str) -> Option<String> {
        let name = fs::read_to_string(self.root.join(format!("{place}.latest"))).ok()?;
        Some(name).filter(|name| !name.is_empty() && !name.contains('/'))
    }

    /// Notes which folder was fetched last for such a place.
    pub(super) fn point(&self, place: &str, folder: &str) -> Result<(), FetchError> {
        if self.latest(place).as_deref() == Some(folder) {
            return Ok(());
        }
        let path = self.root.join(format!("{place}.latest"));
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.root)?;
            file.write_all(folder.as_bytes())?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|error| FetchError::io("write", &path, error))
    }

    /// Waits until nobody else fetches the model, as long as somebody gets on with it.
    pub(super) fn hold(
        &self,
        folder: &str,
        name: &str,
        patience: Patience,
        watch: &Watch<'_>,
    ) -> Result<Held, FetchError> {
        let path = self.root.join(format!("{folder}.lock"));
        let fail = |error| FetchError::io("write", &path, error);
        fs::create_dir_all(&self.root).map_err(fail)?;
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true);
        let file = file.open(&path).map_err(fail)?;
        let (mut fetched, mut since) = (0, Instant::now());
        loop {
            match file.try_lock() {
                Ok(()) => {
                    return Ok(Held {
                        folder: folder.into(),
                        _lock: file,
                    });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(FetchError::Source(format!(
                        "cannot lock {}: {error}: set SCALEQUEST_CACHE to a folder on a file system that has locks",
                        path.display()
                    )));
                }
            }
            let now = size(&self.begun(folder));
            if now != fetched {
                (fetched, since) = (now, Instant::now());
            }
            if since.elapsed() > patience.in_all {
                return Err(FetchError::Unavailable(format!(
                    "{name}: another process has held {} for {} s and fetched nothing: end it, then run the same again",
                    path.display(),
                    patience.in_all.as_secs()
                )));
            }
            (watch.say)("wait for another process that fetches the same", fetched, 0);
            sleep(PAUSE, watch)?;
        }
    }

    /// The folder for what is fetched of the model. Where the model's own folder is there and not whole, it becomes that.
    pub(super) fn begin(&self, held: &Held) -> Result<PathBuf, FetchError> {
        let (whole, begun) = (self.root.join(&held.folder), self.begun(&held.folder));
        let prepare = || -> io::Result<()> {
            if whole.is_dir() {
                tracing::warn!(folder = %whole.display(), "a fetched model lacks something and is made whole again");
                if begun.is_dir() {
                    fs::remove_dir_all(&whole)?;
                } else {
                    fs::rename(&whole, &begun)?;
                }
            }
            fs::create_dir_all(&begun)
        };
        prepare().map_err(|error| FetchError::io("write", &begun, error))?;
        Ok(begun)
    }

    /// Makes what was fetched the model; its path.
    pub(super) fn finish(
        &self,
        held: &Held,
        name: &str,
        chosen: &Chosen,
    ) -> Result<PathBuf, FetchError> {
        let (whole, begun) = (self.root.join(&held.folder), self.begun(&held.folder));
        let files = chosen.files.iter();
        let list = List {
            source: name.into(),
            gguf: chosen.gguf.clone(),
            files: files.map(|file| (file.name.clone(), file.bytes)).collect(),
        };
        let finish = || -> io::Result<()> {
            keep_only(&begun, &list.files)?;
            let mut file = File::create(begun.join(LIST))?;
            file.write_all(&serde_json::to_vec_pretty(&list)?)?;
            file.sync_all()?;
            File::open(&begun)?.sync_all()?;
            fs::rename(&begun, &whole)?;
            File::open(&self.root)?.sync_all()
        };
        finish().map_err(|error| FetchError::io("write", &whole, error))?;
        Ok(entry(&whole, chosen.gguf.as_deref()))
    }

    fn begun(&self, folder: &str) -> PathBuf {
        self.root.join(format!("{folder}.part"))
    }
}

/// Removes what is no file of the model: a folder that holds more than was chosen would be another model to those who read it.
fn keep_only(folder: &Path, files: &BTreeMap<String, u64>) -> io::Result<()> {
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

/// Bytes of the files in a folder.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| Some(entry.metadata().ok()?.len()));
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::super::file::{Identity, RemoteFile};
    use super::*;

    const WATCH: Watch<'_> = Watch {
        say: &|_, _, _| {},
        is_stopped: &|| false,
    };

    const SOON: Patience = Patience {
        silence: Duration::from_secs(1),
        in_all: Duration::from_secs(1),
    };

    fn chosen(gguf: Option<&str>) -> Chosen {
        let file = |name: &str| RemoteFile {
            name: name.into(),
            bytes: 2,
            identity: Identity::Version(None),
        };
        Chosen {
            files: vec![file("config.json"), file("x.gguf")],
            gguf: gguf.map(str::to_owned),
        }
    }

    fn finished(cache: &Cache) -> PathBuf {
        let held = cache.hold("m", "m", SOON, &WATCH).unwrap();
        let begun = cache.begin(&held).unwrap();
        for name in ["config.json", "x.gguf", "left-over.partial"] {
            fs::write(begun.join(name), "{}").unwrap();
        }
        cache.finish(&held, "m", &chosen(None)).unwrap()
    }

    #[test]
    fn a_model_is_kept_once_it_is_whole_and_made_whole_again_where_it_is_not() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(&root.path().join("models"));
        assert_eq!(cache.kept("m"), None);
        let path = finished(&cache);
        assert_eq!(cache.kept("m"), Some(path.clone()));
        assert!(!path.join("left-over.partial").exists());
        fs::write(path.join("config.json"), "cut").unwrap();
        assert_eq!(cache.kept("m"), None);
        let held = cache.hold("m", "m", SOON, &WATCH).unwrap();
        let begun = cache.begin(&held).unwrap();
        assert!(begun.join("x.gguf").is_file() && !path.exists());
    }

    #[test]
    fn one_process_fetches_a_model_and_waiting_for_it_ends() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path());
        let held = cache.hold("m", "m", SOON, &WATCH).unwrap();
        let error = cache.hold("m", "m", SOON, &WATCH).err().unwrap();
        assert!(error.to_string().contains("another process"), "{error}");
        let stopped = Watch {
            is_stopped: &|| true,
            ..WATCH
        };
        let error = cache.hold("m", "m", SOON, &stopped).err().unwrap();
        assert!(matches!(error, FetchError::Stopped));
        cache.hold("another", "another", SOON, &WATCH).unwrap();
        drop(held);
        cache.hold("m", "m", SOON, &WATCH).unwrap();
    }

    #[test]
    fn names_are_plain_whatever_they_are_made_from() {
        let name = folder_name("hub", "hf://../../etc/passwd@x\0y", "identity");
        assert!(name.starts_with("hub-..-..-etc-passwd-x-y-"), "{name}");
        assert!(folder_name("uri", &"ä".repeat(5000), "x").len() < 120);
        assert_ne!(folder_name("uri", "a", "1"), folder_name("uri", "a", "2"));
    }

    #[test]
    fn the_latest_folder_of_a_place_is_remembered() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path());
        assert_eq!(cache.latest("p"), None);
        for folder in ["one", "one", "two"] {
            cache.point("p", folder).unwrap();
            assert_eq!(cache.latest("p").as_deref(), Some(folder));
        }
        fs::write(root.path().join("p.latest"), "../elsewhere").unwrap();
        assert_eq!(cache.latest("p"), None);
    }
}
