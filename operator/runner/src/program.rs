//! The worker's program: where it is found. It must not know what the worker does.

use std::path::{Path, PathBuf};

use scalequest_crds::protocol::WORKER_PROGRAM;

/// The variable that names the worker's program, where it does not lie beside this one.
pub const WORKER_VARIABLE: &str = "SCALEQUEST_WORKER";

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

/// What follows the version of a worker that is built for GPUs: its build metadata, by semantic versioning.
const BUILT_FOR_GPUS: &str = "cuda";

/// The variable by which a worker is kept off the GPU, or on it.
const DEVICE_VARIABLE: &str = "SCALEQUEST_DEVICE";

/// Whether a worker of this version trains on a GPU where it has one: `0.1.0+cuda` does, unless the environment says otherwise.
pub fn is_built_for_gpus(version: &str) -> bool {
    let kept_off = std::env::var(DEVICE_VARIABLE).is_ok_and(|device| device == "cpu");
    !kept_off && has_metadata(version)
}

fn has_metadata(version: &str) -> bool {
    let metadata = version.split_once('+').map(|(_, metadata)| metadata);
    metadata.is_some_and(|metadata| metadata.split('.').any(|part| part == BUILT_FOR_GPUS))
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
    let beside = own.with_file_name(WORKER_PROGRAM);
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
    fn worker_beside_program_is_found() {
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
    fn version_metadata_marks_gpu_build() {
        for (version, expected) in [
            ("0.1.0+cuda", true),
            ("0.1.0-rc.1+dirty.cuda", true),
            ("0.1.0", false),
            ("0.1.0-cuda", false),
            ("0.1.0+barracuda", false),
            ("unknown", false),
        ] {
            assert_eq!(has_metadata(version), expected, "{version}");
        }
    }

    #[test]
    fn named_worker_wins_and_exists() {
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
