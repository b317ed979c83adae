//! Prepares a task's model for a server that runs as a sidecar of the worker: the server's image knows neither tasks nor
//! workspaces, so the files are linked to a fixed path.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use scalequest_crds::protocol::report::Outcome;
use scalequest_crds::protocol::task::StageTask;

use super::open_model::open_model;
use super::shard::{Shard, StageResult};
use super::{CancellationToken, ProgressReporter, StageError};

/// Checks the files of the task's model, downloads those that are missing, and links them at `at`.
///
/// # Errors
/// The task has no model, its files cannot be used, or `at` cannot be created.
pub fn prepare_model(
    task: &StageTask,
    at: &Path,
    cancellation: &CancellationToken,
    reporter: &ProgressReporter,
) -> Result<StageResult, StageError> {
    let mut params = task.params.clone();
    let model = params
        .model_mut()
        .ok_or_else(|| StageError::Permanent(format!("stage {} has no model", task.id.stage)))?;
    let shard = Shard::open(task, 0, cancellation, reporter)?;
    let checkpoint = open_model(&shard, model)?;
    link(checkpoint.path(), at).map_err(|error| {
        let message = format!(
            "cannot link the files of model `{}` at {}: {error}",
            model.name,
            at.display()
        );
        StageError::retryable(&error, message)
    })?;
    Ok(StageResult::new(Outcome::Done { reused: false }))
}

/// Links `at` to a file, or makes it a directory of links to the files of a directory. Links resolve to the files themselves,
/// not to other links, which may be removed with this process. Replaces the links of an earlier attempt.
fn link(model: &Path, at: &Path) -> io::Result<()> {
    match fs::symlink_metadata(at) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(at)?,
        Ok(_) => fs::remove_file(at)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if let Some(folder) = at.parent() {
        fs::create_dir_all(folder)?;
    }
    let real = fs::canonicalize(model)?;
    if real.is_file() {
        return symlink(real, at);
    }
    fs::create_dir(at)?;
    for entry in fs::read_dir(real)? {
        let entry = entry?;
        let real = fs::canonicalize(entry.path())?;
        let to = at.join(entry.file_name());
        match real.is_dir() {
            true => link(&real, &to)?,
            false => symlink(real, to)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_resolve_and_replace_earlier_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("model/deeper")).unwrap();
        fs::write(path("object"), "weights").unwrap();
        fs::write(path("model/deeper/file"), "more").unwrap();
        symlink(path("object"), path("model/weights")).unwrap();
        for _ in 0..2 {
            link(&path("model"), &path("served/model")).unwrap();
        }
        fs::remove_file(path("model/weights")).unwrap();
        let read = |name: &str| fs::read_to_string(path("served/model").join(name)).unwrap();
        assert_eq!(read("weights"), "weights");
        assert_eq!(read("deeper/file"), "more");
        link(&path("object"), &path("served/model")).unwrap();
        assert_eq!(fs::read_to_string(path("served/model")).unwrap(), "weights");
        assert!(link(&path("nothing"), &path("served/model")).is_err());
    }
}
