//! Temporary files: written next to their targets, synced, then renamed, so that a crash or a full disk leaves either the complete file or none.
//! Files of dead processes are removed, those of living ones are not.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use tempfile::NamedTempFile;

use super::error::present;

/// The prefix of temporary files' names, followed by host, process id and a nonce of the process.
pub(super) const TEMPORARY_PREFIX: &str = ".tmp-";

/// Age at which a temporary file of another host counts as stale.
const STALE_AFTER: Duration = Duration::from_secs(24 * 3600);

/// A temporary file in the folder of its target. It is removed when dropped unless it was renamed to its target.
pub(super) struct TemporaryFile(NamedTempFile);

impl TemporaryFile {
    /// Creates a temporary file for `target`.
    pub(super) fn create_for(target: &Path) -> io::Result<Self> {
        let folder = target.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut builder = tempfile::Builder::new();
        builder
            .prefix(&*OWN_PREFIX)
            .permissions(Permissions::from_mode(0o666));
        builder.tempfile_in(folder).map(TemporaryFile)
    }

    pub(super) fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.0.write_all(chunk)
    }

    pub(super) fn copy(&mut self, source: &mut impl Read) -> io::Result<()> {
        io::copy(source, self.0.as_file_mut()).map(drop)
    }

    /// Renames the file to `target` and replaces an existing file.
    pub(super) fn replace(self, target: &Path) -> io::Result<()> {
        self.0.as_file().sync_all()?;
        self.0.persist(target).map_err(|e| e.error)?;
        sync_parent(target)
    }

    /// Renames the file to `target`; returns false if that exists.
    pub(super) fn create(self, target: &Path) -> io::Result<bool> {
        self.0.as_file().sync_all()?;
        match self.0.persist_noclobber(target) {
            Ok(_) => sync_parent(target).map(|()| true),
            Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(e.error),
        }
    }
}

fn sync_parent(target: &Path) -> io::Result<()> {
    match target.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Host and process id, then a nonce: in a restarted container, host and process id are the same.
static OWN_PREFIX: LazyLock<String> = LazyLock::new(|| {
    let nonce =
        std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
    format!("{}{nonce:016x}-", process_prefix(std::process::id()))
});

fn process_prefix(process: u32) -> String {
    format!("{TEMPORARY_PREFIX}{}-{process}-", host())
}

fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}

/// Removes the stale temporary files of dead processes in `folder`.
pub(super) fn remove_stale(folder: &Path) -> io::Result<()> {
    let Some(listing) = present(fs::read_dir(folder))? else {
        return Ok(());
    };
    for item in listing {
        let item = item?;
        let name = item.file_name().to_string_lossy().into_owned();
        if name.starts_with(TEMPORARY_PREFIX)
            && !name.starts_with(&*OWN_PREFIX)
            && is_stale(&name, &item)
        {
            present(fs::remove_file(item.path()))?;
        }
    }
    Ok(())
}

fn is_stale(name: &str, item: &fs::DirEntry) -> bool {
    let own_host = format!("{TEMPORARY_PREFIX}{}-", host());
    match name
        .strip_prefix(&own_host)
        .and_then(|rest| rest.split('-').next()?.parse::<u32>().ok())
    {
        // This process's id with another nonce belongs to an earlier start of the container.
        Some(process) => {
            process == std::process::id() || !Path::new(&format!("/proc/{process}")).exists()
        }
        None => item
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|written| written.elapsed().is_ok_and(|age| age > STALE_AFTER)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Content;
    use super::super::directory::Directory;
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
    fn stale_temporary_files_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let living = format!("{}0123456789abcdef-x", process_prefix(1));
        let earlier_life = format!("{}0123456789abcdef-x", process_prefix(std::process::id()));
        let dead = format!("{}0123456789abcdef-x", process_prefix(u32::MAX - 1));
        let elsewhere = format!("{TEMPORARY_PREFIX}another_host-7-0123456789abcdef-x");
        for name in [&living, &earlier_life, &dead, &elsewhere] {
            fs::write(folder.path().join(name), "torn").unwrap();
        }
        let old = std::time::SystemTime::now() - STALE_AFTER - Duration::from_secs(60);
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
}
