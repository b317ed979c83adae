//! Container images as archives, made without a registry by the repository's own scripts: the two of the product, and a small one
//! for the harness itself.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::programs::folder;
use crate::harness::binaries::{binary, repository};

/// The image in which every pod's network lives.
pub const SANDBOX: &str = "scalequest-tests/pod:1";

/// An image whose program does what its arguments say: see `tests/kubernetes/pod/main.go`.
pub const POD: &str = SANDBOX;

/// The operator's image.
pub const OPERATOR: &str = "scalequest:tests";

/// The worker's image.
pub const WORKER: &str = "scalequest-worker:tests";

/// An image that serves a model by the OpenAI API: the binary `chat-server`.
pub const CHAT_SERVER: &str = "chat-server:tests";

/// The archive of [`SANDBOX`], beside the programs.
pub fn sandbox() -> PathBuf {
    folder().join("pod.tar")
}

/// The archives of [`OPERATOR`] and [`WORKER`], made from the built binaries by whoever comes first.
///
/// # Panics
/// If they cannot be made.
pub fn product() -> &'static [PathBuf] {
    static ARCHIVES: OnceLock<Vec<PathBuf>> = OnceLock::new();
    ARCHIVES.get_or_init(|| archives(&[OPERATOR, WORKER]))
}

/// The archive of [`CHAT_SERVER`], likewise.
///
/// # Panics
/// If it cannot be made.
pub fn chat_server() -> &'static [PathBuf] {
    static ARCHIVES: OnceLock<Vec<PathBuf>> = OnceLock::new();
    ARCHIVES.get_or_init(|| archives(&[CHAT_SERVER]))
}

fn archives(images: &[&str]) -> Vec<PathBuf> {
    let names: Vec<&str> = images
        .iter()
        .map(|image| image.split(':').next().unwrap_or(image))
        .collect();
    let binaries = binary(names[0]);
    let release = binaries.parent().expect("a folder of binaries");
    let folder = release.join("images");
    let output = Command::new("bash")
        .arg(repository().join("images/build.sh"))
        .args(["--tag", "tests", "--release"])
        .arg(release)
        .arg("--out")
        .arg(&folder)
        .args(&names)
        .output()
        .expect("bash starts");
    assert!(
        output.status.success(),
        "the images cannot be made: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let archive = |name: &&str| folder.join(format!("{name}.tar"));
    names.iter().map(archive).collect()
}
