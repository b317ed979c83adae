//! Opens the model of a task: finds or downloads its files, and checks that they are the ones that preflight accepted. A worker
//! runs one task, which names one model.

use std::path::{Path, PathBuf};

use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::protocol::task::{ModelLocation, ModelUse};
use scalequest_engine::model::{Checkpoint, ModelError};

use super::StageError;
use super::model_files::ModelFiles;
use super::scratch_dir::ScratchDir;
use super::shard::Shard;
use crate::hub::{self, FetchError, ProgressCallback, Settings};
use crate::storage::model_files;

/// Opens a model's checkpoint and checks that it is the accepted one.
///
/// # Errors
/// The files are gone, cannot be downloaded or used, or have changed since the run was accepted; a trained model is corrupt.
pub fn open_model(shard: &Shard<'_>, model: &ModelUse) -> Result<Checkpoint, StageError> {
    shard.reporter.set_activity("check model");
    let opened = match &model.location {
        ModelLocation::Path(path) => open_accepted(model, path, Path::new(path))?,
        ModelLocation::Hub(files) => {
            let path = download(shard, model, hub::fetch)?;
            open_accepted(
                model,
                &format!("{files}, fetched to {}", path.display()),
                &path,
            )?
        }
        ModelLocation::Uri(uri) => {
            let path = download(shard, model, hub::fetch)?;
            // The last download may be older or newer than the accepted files.
            match open_accepted(model, uri, &path)? {
                Err(_) => {
                    let path = download(shard, model, hub::fetch_current)?;
                    open_accepted(model, uri, &path)?
                }
                accepted => accepted,
            }
        }
        ModelLocation::Endpoint(at) => Err(StageError::Permanent(format!(
            "model `{}` is served by the endpoint {}, and this stage needs the model's files: give the model a source",
            model.name, at.base_url
        )))?,
        ModelLocation::Trained { stage, key } => {
            let files = if shard.store.local_path("").is_some() {
                let links = ScratchDir::new()?;
                let path = model_files::fetch(&shard.store, *stage, key, links.path())?;
                ModelFiles::Linked {
                    path,
                    _links: links,
                }
            } else {
                ModelFiles::Cached(model_files::fetch_cached(
                    &shard.store,
                    *stage,
                    key,
                    &trained_model_cache(),
                )?)
            };
            let files = shard.model_files.get_or_init(|| files);
            Ok(Checkpoint::open(files.path()).map_err(|error| model_error(model, error))?)
        }
    };
    opened.map_err(StageError::Permanent)
}

/// Opens the checkpoint at `path`; the inner error says why it is not the accepted one. `location` describes the path to users.
fn open_accepted(
    model: &ModelUse,
    location: &str,
    path: &Path,
) -> Result<Result<Checkpoint, String>, StageError> {
    let checkpoint = Checkpoint::open(path).map_err(|error| model_error(model, error))?;
    let digest = checkpoint
        .digest()
        .map_err(|error| model_error(model, error))?;
    if digest == model.digest {
        return Ok(Ok(checkpoint));
    }
    Ok(Err(format!(
        "model `{}`: the files at {location} have changed since the run was accepted (sha256 {digest}, accepted {}); put the accepted files back, or start a new run",
        model.name, model.digest
    )))
}

type Fetch =
    fn(&str, &ModelLocation, &Settings, &ProgressCallback<'_>) -> Result<PathBuf, FetchError>;

/// Downloads a model of the hub or of an object store unless this machine has it, and returns its path.
fn download(shard: &Shard<'_>, model: &ModelUse, fetch: Fetch) -> Result<PathBuf, StageError> {
    let (reporter, cancellation) = (shard.reporter, shard.cancellation);
    let progress = ProgressCallback {
        report: &|activity, done, total| reporter.report_bytes(activity, done, total),
        is_stopped: &|| cancellation.is_cancelled(),
    };
    let path = fetch(
        &model.name,
        &model.location,
        &Settings::from_env(),
        &progress,
    );
    path.map_err(|error| fetch_error(model, error))
}

/// Classifies the error of a download.
pub(super) fn fetch_error(model: &ModelUse, error: FetchError) -> StageError {
    let message = format!("model `{}`: {error}", model.name);
    match error {
        FetchError::Stopped => StageError::Stopped,
        FetchError::Permanent(_) => StageError::Permanent(message),
        FetchError::Unavailable(_) => StageError::Transient {
            cause: Cause::StoreUnavailable,
            message,
        },
        FetchError::Transient { cause, .. } => StageError::Transient { cause, message },
    }
}

/// Returns the cache of trained models from an object store: below `SCALEQUEST_CACHE`, or the system's directory for temporary
/// files.
pub(super) fn trained_model_cache() -> PathBuf {
    std::env::var_os("SCALEQUEST_CACHE")
        .map_or_else(|| std::env::temp_dir().join("scalequest"), PathBuf::from)
        .join("trained")
}

/// Classifies the error of a model's files.
pub(super) fn model_error(model: &ModelUse, error: ModelError) -> StageError {
    let message = format!("model `{}`: {error}", model.name);
    StageError::of(&error, error.is_permanent(), message)
}
