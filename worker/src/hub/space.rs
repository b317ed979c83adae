//! Whether there is room for what is still to be fetched, before it is.

use std::path::Path;

use super::FetchError;
use super::file::RemoteFile;
use super::transfer::present;

/// Bytes that are left free: a disk that is filled to its last byte breaks other things too.
const SPARE: u64 = 64 << 20;

/// Checks that what `files` lack in the folder `begun` fits on its disk.
pub(super) fn check(name: &str, files: &[RemoteFile], begun: &Path) -> Result<(), FetchError> {
    let there: u64 = files.iter().map(|file| present(file, begun)).sum();
    let needed = super::file::total(files).saturating_sub(there);
    let disk = rustix::fs::statvfs(begun)
        .map_err(|error| FetchError::io("look at the disk of", begun, error.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    match needed > 0 && needed.saturating_add(SPARE) > free {
        false => Ok(()),
        true => Err(FetchError::Full(format!(
            "{name}: {} are to be fetched to {}, where {} are free: make room there, or set SCALEQUEST_CACHE (in a cluster spec.modelCache) to a place that has it",
            in_words(needed),
            begun.parent().unwrap_or(begun).display(),
            in_words(free)
        ))),
    }
}

/// Bytes for a person.
pub fn in_words(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    match mib < 1024.0 {
        true => format!("{mib:.1} MiB"),
        false => format!("{:.1} GiB", mib / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::Identity;
    use super::*;

    #[test]
    fn too_little_room_is_said_with_both_numbers_and_what_is_there_already_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes| RemoteFile {
            name: name.into(),
            bytes,
            identity: Identity::Version(None),
        };
        let huge = [file("a", u64::MAX / 2), file("b", u64::MAX)];
        let error = check("hf://a/b@c", &huge, folder.path()).unwrap_err();
        assert!(matches!(error, FetchError::Full(_)));
        let said = error.to_string();
        assert!(
            said.matches("GiB").count() == 2 && said.contains("SCALEQUEST_CACHE"),
            "{said}"
        );
        std::fs::write(folder.path().join("c"), "there").unwrap();
        check("x", &[file("c", 5)], folder.path()).unwrap();
    }
}
