//! The worker's program: where it is found. It must not know what the worker does.

use std::path::{Path, PathBuf};

/// The variable that names the worker's program, where it does not lie beside this one.
pub const WORKER_VARIABLE: &str = "SCALEQUEST_WORKER";

/// The worker's file name.
const WORKER_NAME: &str = "scalequest-worker";

/// Finds `scalequest-worker`: the file that [`WORKER_VARIABLE`] names, or the one beside this program. The error says what
/// to do, for a person.
pub fn find_worker() -> Result<PathBuf, String> {
    let named = std::env::var_os(WORKER_VARIABLE)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from);
    let own = std::env::current_exe()
        .map_err(|error| format!("cannot find this program's own file: {error}"))?;
    choose(named, &own)
}

fn choose(named: Option<PathBuf>, own: &Path) -> Result<PathBuf, String> {
    if let Some(path) = named {
        if path.is_file() {
            return Ok(path);
        }
        return Err(format!(
            "{WORKER_VARIABLE} names {}, which is no file: set it to the scalequest-worker program or unset it",
            path.display()
        ));
    }
    let beside = own.with_file_name(WORKER_NAME);
    if beside.is_file() {
        return Ok(beside);
    }
    Err(format!(
        "no worker at {}: build it (cargo build --release) or set {WORKER_VARIABLE} to the scalequest-worker program",
        beside.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_beside_the_program_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("scalequest");
        let error = choose(None, &own).unwrap_err();
        assert!(
            error.contains("scalequest-worker") && error.contains(WORKER_VARIABLE),
            "{error}"
        );
        std::fs::write(directory.path().join("scalequest-worker"), b"").unwrap();
        assert_eq!(
            choose(None, &own).unwrap(),
            directory.path().join("scalequest-worker")
        );
    }

    #[test]
    fn a_named_worker_wins_and_must_exist() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("scalequest");
        let named = directory.path().join("mine");
        assert!(
            choose(Some(named.clone()), &own)
                .unwrap_err()
                .contains("is no file")
        );
        std::fs::write(&named, b"").unwrap();
        assert_eq!(choose(Some(named.clone()), &own).unwrap(), named);
    }
}
