//! Opens the model that a task names: where it lies or is fetched from, and whether it is the one that was inspected. A worker does one task,
//! which names one model.

use std::path::{Path, PathBuf};

use scalequest_crds::protocol::task::{ModelLocation, ModelUse};
use scalequest_engine::model::{Checkpoint, ModelError};

use super::StageError;
use super::scratch::Scratch;
use super::shard::Shard;
use crate::hub::{self, FetchError, Settings, Watch};
use crate::storage::model_files;

/// Opens a model's checkpoint and checks that it is the very one that the task means.
///
/// # Errors
/// It is gone, cannot be fetched or used, or its files have changed since the run was accepted; a trained one is damaged.
pub fn open_model(shard: &Shard<'_>, model: &ModelUse) -> Result<Checkpoint, StageError> {
    shard.progressing.begin("check model");
    let opened = match &model.location {
        ModelLocation::Path(path) => accepted(model, path, Path::new(path))?,
        ModelLocation::Hub(files) => {
            let path = fetched(shard, model, hub::fetch)?;
            accepted(
                model,
                &format!("{files}, fetched to {}", path.display()),
                &path,
            )?
        }
        ModelLocation::Uri(uri) => {
            let path = fetched(shard, model, hub::fetch)?;
            // What was fetched last may be what lay there before, or what lies there since.
            match accepted(model, uri, &path)? {
                Err(_) => {
                    let path = fetched(shard, model, hub::fetch_current)?;
                    accepted(model, uri, &path)?
                }
                whole => whole,
            }
        }
        ModelLocation::Endpoint(at) => Err(StageError::Task(format!(
            "model `{}` is served by the endpoint {}, and this stage needs the model's files: give the model a source",
            model.name, at.base_url
        )))?,
        ModelLocation::Trained { stage, key } => {
            let held = if shard.store.local_path("").is_some() {
                let links = Scratch::new()?;
                let path = model_files::fetch(&shard.store, *stage, key, links.path())?;
                Held::Links {
                    path,
                    _folder: links,
                }
            } else {
                Held::Fetched(model_files::keep(&shard.store, *stage, key, &cache())?)
            };
            let held = shard.model.get_or_init(|| held);
            Ok(Checkpoint::open(held.path()).map_err(|error| named(model, error))?)
        }
    };
    opened.map_err(StageError::Task)
}

/// The checkpoint at `path`, or why it is not the accepted one. `place`: where it lies, for a person.
fn accepted(
    model: &ModelUse,
    place: &str,
    path: &Path,
) -> Result<Result<Checkpoint, String>, StageError> {
    let checkpoint = Checkpoint::open(path).map_err(|error| named(model, error))?;
    let digest = checkpoint.digest().map_err(|error| named(model, error))?;
    if digest == model.digest {
        return Ok(Ok(checkpoint));
    }
    Ok(Err(format!(
        "model `{}`: the files at {place} have changed since the run was accepted (sha256 {digest}, accepted {}); put the accepted files back, or start a new run",
        model.name, model.digest
    )))
}

type Fetch = fn(&str, &ModelLocation, &Settings, &Watch<'_>) -> Result<PathBuf, FetchError>;

/// Where a model of the hub or of an object store lies on this machine, once it is there.
fn fetched(shard: &Shard<'_>, model: &ModelUse, fetch: Fetch) -> Result<PathBuf, StageError> {
    let (progressing, stop) = (shard.progressing, shard.stop);
    let watch = Watch {
        say: &|doing, done, total| progressing.say_bytes(doing, done, total),
        is_stopped: &|| stop.is_asked(),
    };
    let fetched = fetch(&model.name, &model.location, &Settings::from_env(), &watch);
    fetched.map_err(|error| {
        let message = format!("model `{}`: {error}", model.name);
        match error {
            FetchError::Stopped => StageError::Stopped,
            FetchError::Source(_) => StageError::Task(message),
            FetchError::Full(_) => StageError::DiskFull(message),
            FetchError::Unavailable(_) => StageError::Unavailable(message),
            FetchError::World(_) => StageError::World(message),
        }
    })
}

/// The files of a trained model, there as long as its shard is in the making.
#[derive(Debug)]
pub enum Held {
    /// Links into a workspace that is a directory, in a folder that goes with this process.
    Links {
        /// The model's directory.
        path: PathBuf,
        /// Where it lies.
        _folder: Scratch,
    },
    /// Files of an object store, which stay for the next worker.
    Fetched(model_files::Kept),
}

impl Held {
    fn path(&self) -> &Path {
        match self {
            Held::Links { path, .. } => path,
            Held::Fetched(kept) => kept.folder(),
        }
    }
}

/// Where trained models are fetched to from an object store: below `SCALEQUEST_CACHE`, or the system's folder for temporary
/// files.
fn cache() -> PathBuf {
    std::env::var_os("SCALEQUEST_CACHE")
        .map_or_else(|| std::env::temp_dir().join("scalequest"), PathBuf::from)
        .join("trained")
}

fn named(model: &ModelUse, error: ModelError) -> StageError {
    let message = format!("model `{}`: {error}", model.name);
    if error.is_permanent() {
        StageError::Task(message)
    } else {
        StageError::world(&error, message)
    }
}
