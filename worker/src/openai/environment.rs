//! Opens an endpoint with the key and the timeouts of the environment.

use scalequest_crds::v1alpha1::model::key_variable;
use tokio::runtime::{Builder, Runtime};

use super::{Endpoint, EndpointError, Timeouts};

/// The variable with the key if the model's own variable is not set.
const DEFAULT_KEY_VARIABLE: &str = "OPENAI_API_KEY";

/// Opens the endpoint of the model called `name` with the key of the environment; with the runtime that drives its requests.
///
/// # Errors
/// The URL or the key is invalid.
pub fn open(name: &str, base_url: &str, model: &str) -> Result<(Endpoint, Runtime), EndpointError> {
    open_with(name, base_url, model, Timeouts::from_env())
}

/// Like [`open`], with other timeouts than those of the environment.
///
/// # Errors
/// As [`open`].
pub fn open_with(
    name: &str,
    base_url: &str,
    model: &str,
    timeouts: Timeouts,
) -> Result<(Endpoint, Runtime), EndpointError> {
    let own = key_variable(name);
    let read = |variable: &str| {
        std::env::var(variable)
            .ok()
            .filter(|key| !key.trim().is_empty())
    };
    let (key, variable) = match (read(&own), read(DEFAULT_KEY_VARIABLE)) {
        (None, Some(key)) => (Some(key), DEFAULT_KEY_VARIABLE.to_owned()),
        (key, _) => (key, own),
    };
    let endpoint = Endpoint::new(base_url, model, key, &variable, timeouts)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("endpoint")
        .enable_all()
        .build()
        .map_err(|error| {
            EndpointError::Unavailable(format!("cannot start a network thread: {error}"))
        })?;
    Ok((endpoint, runtime))
}
