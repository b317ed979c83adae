//! Temporary files beside their targets: synced, then renamed, so that a crash or a full disk leaves either the whole file or
//! none. What dead processes left behind is swept away; what living ones write is left alone.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use tempfile::NamedTempFile;

use super::error::present;

/// How temporary files begin. They are followed by host, process and a number of this very process.
pub(super) const TEMPORARY: &str = ".tmp-";

/// After this time a temporary file of another host is taken for abandoned.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

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

    pub(super) fn copy(&mut self, source: &mut File) -> io::Result<()> {
        io::copy(source, self.0.as_file_mut()).map(drop)
    }

    /// Takes the name of `target`, in place of what lies there.
    pub(super) fn replace(self, target: &Path) -> io::Result<()> {
        self.0.as_file().sync_all()?;
        self.0.persist(target).map_err(|e| e.error)?;
        sync_parent(target)
    }

    /// Takes the name of `target`; false if something lies there.
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
pub(super) fn sweep(folder: &Path) -> io::Result<()> {
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
}
