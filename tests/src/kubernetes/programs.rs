//! Where the built programs are: `tests/kubernetes/build.sh` puts them into a folder of the cache and tells which.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::harness::binaries::repository;

/// The folder of the programs: of the oldest Kubernetes that is supported where `SCALEQUEST_KUBERNETES` says `oldest`.
///
/// # Panics
/// If they are not built, with the command that builds them: a cluster test is never passed over.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let chosen = std::env::var("SCALEQUEST_KUBERNETES").unwrap_or_default();
        let (folder, command) = match chosen.as_str() {
            "" => (asked("build.sh", &[]), ".ci/tools.sh kubernetes"),
            other => (more(other), "tests/kubernetes/more.sh oldest"),
        };
        assert!(
            folder.join("servers").is_file(),
            "Kubernetes is not built: run `{command}` ({})",
            folder.display()
        );
        folder
    })
}

/// The folder of what `tests/kubernetes/more.sh` builds under this name, built or not.
pub fn more(name: &str) -> PathBuf {
    asked("more.sh", &[name])
}

/// Where a script says that its programs are.
fn asked(script: &str, arguments: &[&str]) -> PathBuf {
    let script = repository().join("tests/kubernetes").join(script);
    let mut command = Command::new("bash");
    let output = command.arg(&script).arg("--where").args(arguments).output();
    let output = output.expect("bash starts");
    assert!(
        output.status.success(),
        "{}: {}",
        script.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
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
