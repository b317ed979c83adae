//! Opens the model that a task names: where it lies, and whether it is the one that was inspected. It keeps nothing: a worker
//! does one task, which names one model.

use std::path::PathBuf;

use scalequest_crds::task::{ModelLocation, ModelUse};

use super::StageError;
use super::shard::Shard;
use crate::dataset::model_files;
use crate::model::{Checkpoint, ModelError};

/// Opens a model's checkpoint and checks that it is the very one that the task means.
///
/// # Errors
/// It is gone, cannot be used, or its files have changed since the run was accepted; a trained one is damaged.
pub fn open_model(shard: &Shard<'_>, model: &ModelUse) -> Result<Checkpoint, StageError> {
    shard.progressing.begin("check model");
    match &model.location {
        ModelLocation::Path(path) => {
            let checkpoint =
                Checkpoint::open(&PathBuf::from(path)).map_err(|error| named(model, error))?;
            let digest = checkpoint.digest().map_err(|error| named(model, error))?;
            if digest != model.digest {
                return Err(StageError::Task(format!(
                    "model `{}`: the files at {path} have changed since the run was accepted (sha256 {digest}, accepted {}); put the accepted files back, or start a new run",
                    model.name, model.digest
                )));
            }
            Ok(checkpoint)
        }
        ModelLocation::Trained { stage, key } => {
            let path = model_files::fetch(&shard.store, *stage, key, &cache())?;
            Checkpoint::open(&path).map_err(|error| named(model, error))
        }
    }
}

/// Where trained models are fetched to from an object store.
fn cache() -> PathBuf {
    std::env::var_os("SCALEQUEST_CACHE").map_or_else(
        || std::env::temp_dir().join("scalequest-models"),
        PathBuf::from,
    )
}

fn named(model: &ModelUse, error: ModelError) -> StageError {
    let message = format!("model `{}`: {error}", model.name);
    if error.is_permanent() {
        StageError::Task(message)
    } else {
        StageError::World(message)
    }
}
