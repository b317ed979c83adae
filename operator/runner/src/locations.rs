//! Locations on this machine, and whether they can be used: the run's own directory, the workspace, the output. It checks before
//! anything is created, and must not create anything itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use scalequest_crds::digest::sha256_hex;
use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::v1alpha1::StorageLocation;
use serde_json::Value;

/// The directory that holds a workspace's `runs/`: the workspace itself or, for one in an object store, a directory of its own
/// in the user's state directory.
pub fn state_directory(workspace: &StorageLocation) -> PathBuf {
    if let Some(path) = &workspace.path {
        return PathBuf::from(path);
    }
    let named = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let state = named("XDG_STATE_HOME")
        .or_else(|| Some(named("HOME")?.join(".local/state")))
        .unwrap_or_else(std::env::temp_dir);
    let digest = sha256_hex(workspace.shown().trim_end_matches('/').as_bytes());
    state.join("scalequest").join(&digest[..16])
}

/// The directory of a run.
pub fn run_directory(state: &Path, run: &str) -> PathBuf {
    state.join("runs").join(run)
}

/// Names of the runs that a state directory holds, in order.
///
/// # Errors
/// The directory is there and cannot be read; for users.
pub fn runs(state: &Path) -> Result<Vec<String>, String> {
    directories(&state.join("runs"))
}

/// Names of the directories in `path`, in order; none if it does not exist.
///
/// # Errors
/// It is there and cannot be read; for users.
pub fn directories(path: &Path) -> Result<Vec<String>, String> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    let mut names: Vec<_> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// Checks workspace and output of a run of this name.
pub fn check_locations(
    run: &str,
    workspace: &StorageLocation,
    output: &StorageLocation,
) -> Vec<FieldError> {
    let workspace = workspace.path.as_deref().map(Path::new);
    let output = output.path.as_deref().map(Path::new);
    let mut errors = Vec::new();
    let mut check = |field: &str, result: Result<(), String>| {
        errors.extend(result.err().map(|message| FieldError {
            field: field.into(),
            message,
        }));
    };
    if let Some(workspace) = workspace {
        check("spec.workspace.path", check_writable(workspace));
    }
    if let Some(output) = output {
        check("spec.output.path", check_output(run, workspace, output));
    }
    errors
}

fn check_output(run: &str, workspace: Option<&Path>, output: &Path) -> Result<(), String> {
    check_writable(output)?;
    check_owner(output, run)?;
    let Some(workspace) = workspace else {
        return Ok(());
    };
    let (dataset, stages) = (whole(output), whole(workspace));
    if !dataset.starts_with(&stages) && !stages.starts_with(&dataset) {
        return Ok(());
    }
    Err(format!(
        "output {} and workspace {} lie in each other: give each a directory of its own",
        output.display(),
        workspace.display()
    ))
}

/// The path without `.`, `..` and links, as far as it exists.
fn whole(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let existing = absolute
        .ancestors()
        .find_map(|ancestor| Some((ancestor, ancestor.canonicalize().ok()?)));
    match existing {
        Some((ancestor, real)) => {
            real.join(absolute.strip_prefix(ancestor).unwrap_or(Path::new("")))
        }
        None => absolute,
    }
}

/// Whether the directory is there, or could be made, and can be written to. A file is made in the nearest directory that
/// exists and removed at once, since permissions alone do not tell (read-only file systems, root).
fn check_writable(path: &Path) -> Result<(), String> {
    let absolute = std::path::absolute(path)
        .map_err(|error| format!("{} is no usable path: {error}", path.display()))?;
    for ancestor in absolute.ancestors() {
        match fs::metadata(ancestor) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(format!(
                    "{} is not a directory: choose another path",
                    ancestor.display()
                ));
            }
            Ok(_) => {
                let probe = ancestor.join(format!(".scalequest-probe-{}", std::process::id()));
                let made = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(&probe);
                let _ = fs::remove_file(&probe);
                let cannot = |error| {
                    format!(
                        "cannot write to {}: {error}; choose another path or change its permissions",
                        ancestor.display()
                    )
                };
                return made.map(drop).map_err(cannot);
            }
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(format!("cannot read {}: {error}", ancestor.display())),
        }
    }
    Err(format!("no part of {} exists", absolute.display()))
}

/// Whether the error says that a file or a directory on its path does not exist.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// What to do about an output directory that is in use.
const ADVICE: &str = "choose an empty directory, or remove it if it is no longer needed";

/// Checks that the output directory is free, or holds the dataset of the run itself.
fn check_owner(path: &Path, run: &str) -> Result<(), String> {
    let manifest = path.join("manifest.json");
    let owner: Value = match fs::read(&manifest) {
        Ok(text) => serde_json::from_slice(&text).unwrap_or_default(),
        Err(error) if is_missing(&error) => return check_files(path),
        Err(error) => return Err(format!("cannot read {}: {error}", manifest.display())),
    };
    match owner["name"].as_str() {
        Some(name) if name == run => Ok(()),
        Some(name) => Err(format!(
            "{} holds the dataset of run `{name}`: {ADVICE}",
            path.display()
        )),
        None => Err(format!(
            "{} is no manifest of ours: {ADVICE}",
            manifest.display()
        )),
    }
}

/// Checks that an output directory without manifest holds nothing but what an interrupted publication has written.
fn check_files(path: &Path) -> Result<(), String> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if is_missing(&error) => return Ok(()),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    match paths.find(|path| !is_ours(path)) {
        None => Ok(()),
        Some(foreign) => Err(format!(
            "{} holds {}, which is of no dataset of this run: {ADVICE}",
            path.display(),
            foreign.display()
        )),
    }
}

/// Whether a publication writes such a file before its manifest: a table's directory, or a document that says so itself.
fn is_ours(path: &Path) -> bool {
    const TABLES: [&str; 6] = [
        "data",
        "responses",
        "rejects",
        "preferences",
        "preference_rejects",
        "sft_questions",
    ];
    const DOCUMENTS: [&str; 3] = ["README.md", "report.html", "run.yaml"];
    // Stands in every document that a worker publishes.
    const MARK: &[u8] = b"made by scalequest-worker";
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_marked =
        || fs::read(path).is_ok_and(|bytes| bytes.windows(MARK.len()).any(|window| window == MARK));
    name.starts_with(".scalequest-")
        || name.starts_with(".tmp-")
        || TABLES.contains(&&*name)
        || (DOCUMENTS.contains(&&*name) && is_marked())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &Path) -> StorageLocation {
        StorageLocation {
            path: Some(path.display().to_string()),
            ..Default::default()
        }
    }

    fn errors(workspace: &Path, output: &Path) -> String {
        let errors = check_locations("mine", &place(workspace), &place(output));
        errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn missing_directories_are_accepted() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(
            errors(&directory.path().join("a/b"), &directory.path().join("c/d")),
            ""
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn file_in_the_way_is_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let text = errors(
            &directory.path().join("file/w"),
            &directory.path().join("o"),
        );
        assert!(
            text.starts_with("spec.workspace.path:") && text.contains("file is not a directory"),
            "{text}"
        );
    }

    #[test]
    fn read_only_location_is_rejected() {
        let directory = tempfile::tempdir().unwrap();
        let text = errors(
            &directory.path().join("w"),
            Path::new("/proc/scalequest/out"),
        );
        assert!(
            text.contains("spec.output.path: cannot write to /proc"),
            "{text}"
        );
    }

    #[test]
    fn foreign_output_files_are_rejected() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("o");
        fs::create_dir(&output).unwrap();
        fs::write(output.join("thesis.tex"), "").unwrap();
        let text = errors(&directory.path().join("w"), &output);
        assert!(
            text.contains("thesis.tex, which is of no dataset of this run"),
            "{text}"
        );
        fs::remove_file(output.join("thesis.tex")).unwrap();
        fs::write(output.join("README.md"), "my notes").unwrap();
        assert!(errors(&directory.path().join("w"), &output).contains("README.md"));
        fs::write(
            output.join("README.md"),
            "<!-- made by scalequest-worker 0.1 -->",
        )
        .unwrap();
        assert_eq!(errors(&directory.path().join("w"), &output), "");
    }

    #[test]
    fn only_own_dataset_is_accepted() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("o");
        fs::create_dir_all(output.join("data")).unwrap();
        assert_eq!(
            errors(&directory.path().join("w"), &output),
            "",
            "an interrupted publication is ours"
        );
        fs::write(output.join("manifest.json"), r#"{"name": "other"}"#).unwrap();
        assert!(
            errors(&directory.path().join("w"), &output).contains("the dataset of run `other`")
        );
        fs::write(output.join("manifest.json"), r#"{"name": "mine"}"#).unwrap();
        assert_eq!(errors(&directory.path().join("w"), &output), "");
    }

    #[test]
    fn output_inside_workspace_is_rejected() {
        let directory = tempfile::tempdir().unwrap();
        let workspace = directory.path().join("w");
        let text = errors(&workspace, &workspace.join("o"));
        assert!(text.contains("lie in each other"), "{text}");
    }

    #[test]
    fn store_workspace_uses_state_directory() {
        let uri = |uri: &str| {
            state_directory(&StorageLocation {
                uri: Some(uri.into()),
                ..Default::default()
            })
        };
        assert_eq!(uri("s3://a/b"), uri("s3://a/b/"));
        assert_ne!(uri("s3://a/b"), uri("s3://a/c"));
        assert_eq!(run_directory(Path::new("w"), "r"), Path::new("w/runs/r"));
    }
}
