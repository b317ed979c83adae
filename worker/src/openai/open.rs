//! Opens an endpoint with the key that the environment has for it.

use scalequest_crds::v1alpha1::model::key_variable;
use tokio::runtime::{Builder, Runtime};

use super::{Endpoint, EndpointError, Patience};

/// Where a key is looked for after the model's own variable.
const USUAL_KEY: &str = "OPENAI_API_KEY";

/// The endpoint of the model called `name`, with the key that the environment has for it, and what drives requests to it.
///
/// # Errors
/// The URL or the key cannot be used.
pub fn open(name: &str, base_url: &str, model: &str) -> Result<(Endpoint, Runtime), EndpointError> {
    let own = key_variable(name);
    let read = |variable: &str| {
        std::env::var(variable)
            .ok()
            .filter(|key| !key.trim().is_empty())
    };
    let (key, variable) = match (read(&own), read(USUAL_KEY)) {
        (None, Some(key)) => (Some(key), USUAL_KEY.to_owned()),
        (key, _) => (key, own),
    };
    let endpoint = Endpoint::new(base_url, model, key, &variable, Patience::from_env())?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("endpoint")
        .enable_all()
        .build()
        .map_err(|error| {
            EndpointError::Unavailable(format!("cannot start a thread for the network: {error}"))
        })?;
    Ok((endpoint, runtime))
}
