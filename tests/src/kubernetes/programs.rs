//! Where the built programs are: `tests/kubernetes/build.sh` puts them into a folder of the cache and tells which.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::harness::binaries::repository;

/// The folder of the programs.
///
/// # Panics
/// If they are not built, with the command that builds them: a cluster test is never passed over.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let script = repository().join("tests/kubernetes/build.sh");
        let output = Command::new("bash")
            .arg(&script)
            .arg("--where")
            .output()
            .expect("bash starts");
        let said = String::from_utf8_lossy(&output.stdout);
        let folder = PathBuf::from(said.trim());
        assert!(
            output.status.success() && folder.join("servers").is_file(),
            "Kubernetes is not built: run `.ci/tools.sh kubernetes` ({})",
            folder.display()
        );
        folder
    })
}

/// One of the programs.
///
/// # Panics
/// If it is not there.
pub fn program(name: &str) -> PathBuf {
    let path = folder().join(name);
    assert!(path.exists(), "{} is not there", path.display());
    path
}

/// A program that the system's packages bring.
///
/// # Panics
/// If it is not installed, with the command that installs it.
pub fn installed(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| {
            panic!("{name} is not installed: run `.ci/tools.sh kubernetes`, which needs Debian and root")
        })
}
