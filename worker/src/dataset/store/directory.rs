//! A store in a directory. A write goes to a temporary file beside its target, is synced and then renamed, so that a
//! crash or a full disk leaves either the whole object or none. It knows nothing of stages.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tempfile::NamedTempFile;

use super::{Content, Created, Entry, StoreError};

/// Bytes read at once.
const PIECE: usize = 1 << 20;

/// How temporary files begin. They are followed by host, process and a number of this very process.
const TEMPORARY: &str = ".tmp-";

/// After this time a temporary file of another host is taken for abandoned.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// See [`super::Store`], which documents each operation.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    /// Folders in which what dead processes left has been looked for.
    swept: Mutex<HashSet<PathBuf>>,
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
                problem: "it is a file: name a directory".into(),
            });
        }
        let root = std::path::absolute(root).map_err(|e| StoreError::from_io("find", root, e))?;
        Ok(Directory {
            root,
            swept: Mutex::default(),
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

    pub(super) fn put_new(&self, path: &str, content: &Content) -> Result<Created, StoreError> {
        let target = self.file(path);
        let write = || -> io::Result<Created> {
            match !target.exists() && self.temporary(&target, content)?.create(&target)? {
                true => Ok(Created::Created),
                false => Ok(Created::AlreadyThere {
                    same: is_same(&target, content)?,
                }),
            }
        };
        write().map_err(|e| StoreError::from_io("write", &target, e))
    }

    pub(super) fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        let mut folders = vec![self.file(prefix)];
        while let Some(folder) = folders.pop() {
            self.list_folder(&folder, &mut folders, &mut entries)
                .map_err(|e| StoreError::from_io("list", &folder, e))?;
        }
        Ok(entries)
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
        entries: &mut Vec<Entry>,
    ) -> io::Result<()> {
        let Some(listing) = present(fs::read_dir(folder))? else {
            return Ok(());
        };
        for item in listing {
            let item = item?;
            let path = item.path();
            // A file may vanish between listing and looking: a twin's temporary file, or one that is being removed.
            let Some(metadata) = present(fs::metadata(&path))? else {
                continue;
            };
            if metadata.is_dir() {
                folders.push(path);
            } else if !item.file_name().to_string_lossy().starts_with(TEMPORARY)
                && let Ok(relative) = path.strip_prefix(&self.root)
            {
                entries.push(Entry {
                    path: relative.to_string_lossy().into_owned(),
                    bytes: metadata.len(),
                });
            }
        }
        Ok(())
    }

    /// A temporary file with `content`, beside `target`.
    fn temporary(&self, target: &Path, content: &Content) -> io::Result<Temporary> {
        let folder = target.parent().unwrap_or(&self.root);
        if self
            .swept
            .lock()
            .is_ok_and(|mut swept| swept.insert(folder.to_path_buf()))
        {
            sweep(folder)?;
        }
        let mut temporary = Temporary::beside(target)?;
        match content {
            Content::Bytes(bytes) => temporary.write(bytes)?,
            Content::File(path) => {
                drop(io::copy(&mut File::open(path)?, temporary.0.as_file_mut())?)
            }
        }
        Ok(temporary)
    }
}

/// A file beside its target, which removes itself unless it takes its target's name.
pub(super) struct Temporary(NamedTempFile);

impl Temporary {
    pub(super) fn beside(target: &Path) -> io::Result<Self> {
        let folder = target.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut builder = tempfile::Builder::new();
        builder
            .prefix(&*OWN_PREFIX)
            .permissions(Permissions::from_mode(0o666));
        builder.tempfile_in(folder).map(Temporary)
    }

    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.0.write_all(piece)
    }

    /// Takes the name of `target`, in place of what lies there.
    pub(super) fn replace(self, target: &Path) -> io::Result<()> {
        self.0.as_file().sync_all()?;
        self.0.persist(target).map_err(|e| e.error)?;
        sync_parent(target)
    }

    /// Takes the name of `target`; false if something lies there.
    fn create(self, target: &Path) -> io::Result<bool> {
        self.0.as_file().sync_all()?;
        match self.0.persist_noclobber(target) {
            Ok(_) => sync_parent(target).map(|()| true),
            Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(e.error),
        }
    }
}

/// `None` where the file or folder is not there. A parent that is a file counts as not there too.
fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound) => Ok(None),
        Err(e) => Err(e),
    }
}

pub(super) fn scan_file(file: &Path, take: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
    let Some(mut file) = present(File::open(file))? else {
        return Ok(false);
    };
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(true),
            Ok(read) => take(&piece[..read]),
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
            scan_file(target, &mut |piece| {
                same &= bytes.get(at..at + piece.len()) == Some(piece);
                at += piece.len();
            })?;
            Ok(same && at == bytes.len())
        }
        Content::File(path) => {
            let mut other = io::BufReader::with_capacity(PIECE, File::open(path)?);
            let mut buffer = Vec::new();
            let mut same = true;
            scan_file(target, &mut |piece| {
                buffer.resize(piece.len(), 0);
                same = same && other.read_exact(&mut buffer).is_ok() && buffer == piece;
            })?;
            Ok(same)
        }
    }
}

fn sync_parent(target: &Path) -> io::Result<()> {
    match target.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Removes `folder` and the folders in it where they hold nothing; true if it is gone.
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
        // Somebody may have written there in the meantime: then it stays.
        return Ok(present(fs::remove_dir(folder)).is_ok());
    }
    Ok(false)
}

/// Host and process, then a number drawn once: in a container that starts again, host and process are the same.
static OWN_PREFIX: LazyLock<String> = LazyLock::new(|| {
    let nonce =
        std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
    format!("{}{nonce:016x}-", process_prefix(std::process::id()))
});

fn process_prefix(process: u32) -> String {
    format!("{TEMPORARY}{}-{process}-", host())
}

fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}

/// Removes the temporary files of dead processes in `folder`.
fn sweep(folder: &Path) -> io::Result<()> {
    let Some(listing) = present(fs::read_dir(folder))? else {
        return Ok(());
    };
    for item in listing {
        let item = item?;
        let name = item.file_name().to_string_lossy().into_owned();
        if name.starts_with(TEMPORARY)
            && !name.starts_with(&*OWN_PREFIX)
            && is_abandoned(&name, &item)
        {
            present(fs::remove_file(item.path()))?;
        }
    }
    Ok(())
}

fn is_abandoned(name: &str, item: &fs::DirEntry) -> bool {
    let own_host = format!("{TEMPORARY}{}-", host());
    match name
        .strip_prefix(&own_host)
        .and_then(|rest| rest.split('-').next()?.parse::<u32>().ok())
    {
        // Our own process number with another nonce is an earlier life of this container.
        Some(process) => {
            process == std::process::id() || !Path::new(&format!("/proc/{process}")).exists()
        }
        None => item
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|written| written.elapsed().is_ok_and(|age| age > ABANDONED)),
    }
}

#[cfg(test)]
mod tests {
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
    fn temporary_files_of_dead_processes_are_removed_and_those_of_living_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let living = format!("{}0123456789abcdef-x", process_prefix(1));
        let earlier_life = format!("{}0123456789abcdef-x", process_prefix(std::process::id()));
        let dead = format!("{}0123456789abcdef-x", process_prefix(u32::MAX - 1));
        let elsewhere = format!("{TEMPORARY}another_host-7-0123456789abcdef-x");
        for name in [&living, &earlier_life, &dead, &elsewhere] {
            fs::write(folder.path().join(name), "torn").unwrap();
        }
        let old = std::time::SystemTime::now() - ABANDONED - Duration::from_secs(60);
        let forgotten = folder.path().join(format!("{elsewhere}-old"));
        File::create(&forgotten).unwrap().set_modified(old).unwrap();

        let directory = Directory::open(folder.path()).unwrap();
        directory
            .put("object", &Content::from(b"whole".to_vec()))
            .unwrap();

        let mut expected = vec![living, elsewhere, "object".to_string()];
        expected.sort();
        assert_eq!(names(folder.path()), expected);
        let listed: Vec<_> = directory
            .list("")
            .unwrap()
            .into_iter()
            .map(|entry| entry.path)
            .collect();
        assert_eq!(listed, ["object"]);
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        let missing = Content::File(folder.path().join("missing"));
        assert!(directory.put("object", &missing).is_err());
        assert!(directory.put_new("object", &missing).is_err());
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }

    #[test]
    fn written_files_have_the_permissions_that_the_umask_gives() {
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
