//! Logs on standard error, set up once at the start.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::arguments::LogFormat;

/// Starts logging. `RUST_LOG` selects targets and levels; the default is the worker's own messages and others' warnings.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,scalequest_worker=info"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    // In a test another logger may be set already.
    let _ = match format {
        LogFormat::Text => logs.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
}
