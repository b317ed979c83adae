//! The asynchronous runtime of the commands that need one.

use tokio::runtime::{Builder, Runtime};

use super::CliError;

/// Builds the runtime that `builder` describes.
pub fn runtime(mut builder: Builder) -> Result<Runtime, CliError> {
    let runtime = builder.enable_all().build();
    runtime.map_err(|error| CliError::Failed(format!("cannot start: {error}")))
}

/// Returns the error of signal handlers that cannot be installed.
pub fn signal_error(error: std::io::Error) -> CliError {
    CliError::Failed(format!("cannot listen to signals: {error}"))
}
