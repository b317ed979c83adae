//! Checks for free disk space before a download.

use scalequest_crds::protocol::cause::Cause;
use std::path::Path;

use super::FetchError;
use super::download::downloaded_bytes;
use super::file::{RemoteFile, total_bytes};

/// Bytes that stay free on the disk, for other programs.
const RESERVED: u64 = 64 << 20;

/// Checks that the missing bytes of `files` fit on the disk of the folder `partial`, which need not exist yet.
///
/// # Errors
/// [`Cause::DiskFull`] if they do not.
pub(super) fn check(name: &str, files: &[RemoteFile], partial: &Path) -> Result<(), FetchError> {
    let downloaded: u64 = files
        .iter()
        .map(|file| downloaded_bytes(file, partial))
        .sum();
    let needed = total_bytes(files).saturating_sub(downloaded);
    let existing = partial.ancestors().find(|folder| folder.exists());
    let disk = rustix::fs::statvfs(existing.unwrap_or(partial))
        .map_err(|error| FetchError::from_io("query the disk of", partial, error.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    match needed > 0 && needed.saturating_add(RESERVED) > free {
        false => Ok(()),
        true => {
            let message = format!(
                "{name}: the download to {} needs {}, but only {} are free: free some space, or set SCALEQUEST_CACHE (in a cluster spec.modelCache) to a larger disk",
                partial.parent().unwrap_or(partial).display(),
                format_bytes(needed),
                format_bytes(free)
            );
            Err(FetchError::transient(Cause::DiskFull, message))
        }
    }
}

/// Formats a number of bytes in MiB or GiB.
pub fn format_bytes(bytes: u64) -> String {
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
    fn space_check_counts_only_missing_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes| RemoteFile {
            name: name.into(),
            bytes,
            identity: Identity::Version(None),
        };
        let huge = [file("a", u64::MAX / 2), file("b", u64::MAX)];
        let error = check("hf://a/b@c", &huge, folder.path()).unwrap_err();
        let FetchError::Transient { cause, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(cause, Cause::DiskFull);
        let message = error.to_string();
        assert!(
            message.matches("GiB").count() == 2 && message.contains("SCALEQUEST_CACHE"),
            "{message}"
        );
        std::fs::write(folder.path().join("c"), "there").unwrap();
        check("x", &[file("c", 5)], folder.path()).unwrap();
    }
}
