//! Probes a stage's model where it is: files on a disk, in the hub, in an object store or in the workspace, or an endpoint.

use std::path::Path;
use std::time::Duration;

use scalequest_crds::protocol::task::{self, ModelLocation, ModelUse, StageParams};
use scalequest_engine::model::{Checkpoint, ModelError};

use super::inputs::probe_objects;
use super::{Probe, READ_BYTES};
use crate::hub::{self, ProgressCallback, Settings};
use crate::openai::{self, Api, Request, Timeouts};
use crate::stages::StageError;
use crate::stages::open_model::{fetch_error, model_error, trained_model_cache};
use crate::stages::scratch_dir::ScratchDir;
use crate::storage::store::{DISK_PROBE_BYTES, Store, read_file_start};
use crate::storage::workspace::StageDir;

/// Longest wait for an endpoint or a hub.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest time in which requests to an endpoint or a hub are retried.
const RETRY_TIMEOUT: Duration = Duration::from_secs(15);

/// Probes the model of the task, if it has one and is going to use it.
pub(super) fn probe_model(probe: &Probe<'_>) -> Result<(), StageError> {
    let mut params = probe.task.params.clone();
    let Some(model) = params.model_mut() else {
        return Ok(());
    };
    // A stage without rows loads no model.
    if probe.task.rows == 0 {
        return Ok(());
    }
    match &model.location {
        ModelLocation::Path(path) => probe_files(model, Path::new(path)),
        ModelLocation::Hub(_) | ModelLocation::Uri(_) => probe_fetched(probe, model),
        ModelLocation::Trained { stage, key } => {
            let dir = StageDir::new(&probe.workspace, *stage, key);
            probe_objects(probe, &dir, &dir.sealed()?)?;
            if probe.workspace.local_path("").is_some() {
                return ScratchDir::new().map(drop);
            }
            let cache = Store::open(&trained_model_cache().display().to_string())?;
            Ok(cache.check_writable("", DISK_PROBE_BYTES)?)
        }
        ModelLocation::Endpoint(at) => probe_endpoint(&probe.task.params, model, at),
    }
}

/// Opens the model's checkpoint, which reads the headers of its files, and reads the beginning of each file.
fn probe_files(model: &ModelUse, path: &Path) -> Result<(), StageError> {
    let checkpoint = Checkpoint::open(path).map_err(|error| model_error(model, error))?;
    for file in checkpoint.files() {
        read_file_start(&file, READ_BYTES).map_err(|source| {
            let error = ModelError::Io {
                action: "read",
                path: file,
                source,
            };
            model_error(model, error)
        })?;
    }
    Ok(())
}

/// Probes a model that is fetched: its files in the cache, or else whether it can be fetched.
fn probe_fetched(probe: &Probe<'_>, model: &ModelUse) -> Result<(), StageError> {
    let from_env = Settings::from_env();
    let settings = Settings {
        timeouts: hub::Timeouts {
            read: from_env.timeouts.read.min(REQUEST_TIMEOUT),
            retry: from_env.timeouts.retry.min(RETRY_TIMEOUT),
        },
        ..from_env
    };
    let progress = ProgressCallback {
        report: &|_, _, _| {},
        is_stopped: &|| probe.cancellation.is_cancelled(),
    };
    let cached = hub::probe_fetch(&model.name, &model.location, &settings, &progress)
        .map_err(|error| fetch_error(model, error))?;
    match cached {
        Some(path) => probe_files(model, &path),
        None => Ok(()),
    }
}

/// Probes an endpoint with the stage's key: by its list of models, and by one request for a single token. Only a request shows whether the
/// account has quota left and may use the model.
fn probe_endpoint(
    params: &StageParams,
    model: &ModelUse,
    at: &task::Endpoint,
) -> Result<(), StageError> {
    let from_env = Timeouts::from_env();
    let timeouts = Timeouts {
        request: from_env.request.min(REQUEST_TIMEOUT),
        retry: from_env.retry.min(RETRY_TIMEOUT),
    };
    let (endpoint, runtime) = openai::open_with(&model.name, &at.base_url, &at.model, timeouts)?;
    if let Some(warning) = endpoint.probe(&runtime)? {
        tracing::warn!("{warning}");
    }
    Ok(endpoint.probe_request(&runtime, &request(params))?)
}

/// Returns a request of the kind that the stage sends.
fn request(params: &StageParams) -> Request {
    let question = "What is 1 + 1?".to_owned();
    match params {
        StageParams::Reward { pooled: true, .. } => Request::score(question, "2".into()),
        _ => Request {
            text: question,
            api: Api::Chat,
            temperature: 0.0,
            top_p: 1.0,
            top_k: None,
            max_new_tokens: 1,
            seed: 0,
            // A verifier reads the probabilities of Yes and No.
            top_logprobs: matches!(params, StageParams::Reward { .. }),
        },
    }
}
