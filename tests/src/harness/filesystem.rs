//! A small file system of its own, which can be filled up. Needs root; elsewhere a test says that it was skipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted tmpfs, unmounted when dropped.
#[derive(Debug)]
pub struct SmallFilesystem {
    mount: PathBuf,
}

impl SmallFilesystem {
    /// Mounts a file system of `bytes` bytes on the directory `mount`, which is made; why not, where that is not allowed.
    ///
    /// # Errors
    /// What `mount` says.
    pub fn mount(mount: &Path, bytes: u64) -> Result<Self, String> {
        fs::create_dir_all(mount).map_err(|error| error.to_string())?;
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(mount)
            .output();
        match output {
            Ok(output) if output.status.success() => Ok(SmallFilesystem {
                mount: mount.to_path_buf(),
            }),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Gives it another size.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn resize(&self, bytes: u64) {
        let options = format!("remount,size={bytes}");
        let status = Command::new("mount")
            .args(["-o", &options])
            .arg(&self.mount)
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "{} cannot be resized",
            self.mount.display()
        );
    }
}

impl Drop for SmallFilesystem {
    fn drop(&mut self) {
        // Lazily: a worker that has just been killed may still hold a file.
        let _ = Command::new("umount").arg("-l").arg(&self.mount).status();
    }
}

/// Bytes of all files below a directory.
pub fn bytes_below(directory: &Path) -> u64 {
    let files = super::dataset::files_below(directory);
    files
        .iter()
        .filter_map(|path| fs::metadata(directory.join(path)).ok())
        .map(|metadata| metadata.len())
        .sum()
}
