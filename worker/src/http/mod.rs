//! What the modules that send HTTP requests share: backoff between attempts, and messages for network errors. It sends nothing.

mod backoff;

mod error_chain;

mod tls;

pub use backoff::{backoff, parse_retry_after, unix_seconds};
pub use error_chain::error_chain;
pub use tls::install_tls_provider;
