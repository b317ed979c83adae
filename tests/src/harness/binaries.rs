//! Where the binaries under test are: beside the test's own executable, as cargo lays them out.

use std::path::PathBuf;

/// Path of a built binary.
///
/// # Panics
/// If it is not built, with the command that builds it.
pub fn binary(name: &str) -> PathBuf {
    let here = std::env::current_exe().expect("a test knows its own path");
    let profile = here.ancestors().find(|dir| dir.join(name).is_file());
    match profile {
        Some(dir) => dir.join(name),
        None => panic!("{name} is not built: run `cargo build --release --workspace` first"),
    }
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests crate lies in the repository")
        .to_path_buf()
}
