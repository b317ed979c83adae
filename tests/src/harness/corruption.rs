//! Damaging files as disks, people and half-finished copies do. Each way leaves a file that cannot be taken for whole.

use std::fs;
use std::path::{Path, PathBuf};

/// A way to damage a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// It is gone.
    Delete,
    /// It ends in the middle.
    Truncate,
    /// One bit in its middle is another.
    FlipBit,
}

impl Corruption {
    /// All of them.
    pub const ALL: [Corruption; 3] = [
        Corruption::Delete,
        Corruption::Truncate,
        Corruption::FlipBit,
    ];

    /// Damages the file at `path`.
    ///
    /// # Panics
    /// If there is no such file, or it is empty.
    #[track_caller]
    pub fn apply(self, path: &Path) {
        let mut bytes =
            fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!bytes.is_empty(), "{} is empty", path.display());
        let middle = bytes.len() / 2;
        match self {
            Corruption::Delete => return fs::remove_file(path).expect("a removable file"),
            Corruption::Truncate => bytes.truncate(middle),
            Corruption::FlipBit => bytes[middle] ^= 1,
        }
        // In place: an object that others link to is damaged for them too, as on a failing disk.
        let mut permissions = fs::metadata(path).expect("a file").permissions();
        #[allow(clippy::permissions_set_readonly_false)]
        permissions.set_readonly(false);
        let _ = fs::set_permissions(path, permissions);
        fs::write(path, bytes).expect("a writable file");
    }
}

/// The largest file below a directory.
///
/// # Panics
/// If there is none.
#[track_caller]
pub fn largest_file(directory: &Path) -> PathBuf {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let files = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file());
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
    files
        .max_by_key(|path| (size(path), path.clone()))
        .unwrap_or_else(|| panic!("{} holds no file", directory.display()))
}
