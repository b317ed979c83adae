//! Models behind an OpenAI-compatible endpoint: sends requests, many concurrently, and retries each within its retry budget. It knows no stage
//! and no row.

mod environment;

mod endpoint;

mod request_all;

mod probe;

mod wire;

mod pooling;

mod reply;

mod attempt_error;

mod managed_server;

pub use endpoint::{Endpoint, Timeouts};
pub use environment::{open, open_with};
pub use managed_server::ManagedServer;
pub use reply::{Reply, TokenLogprob};
pub use request_all::IndexedReply;
pub use wire::{Api, Request};

/// Why an endpoint cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// A stop was requested.
    #[error("stopped")]
    Stopped,
    /// No request can succeed: the URL is invalid, or the server lacks a required feature.
    #[error("{0}")]
    Unusable(String),
    /// The endpoint denies access: the key, the account or the model's name.
    #[error("{0}")]
    Denied(String),
    /// The endpoint gave no reply before the retry budget was exhausted, does not serve the model, or its account has no quota left.
    #[error("{0}")]
    Unavailable(String),
    /// The managed server failed and its restarts are exhausted.
    #[error("{0}")]
    ServerFailed(String),
}

/// Why one request has no reply, although the endpoint replies to others. The text is the server's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The prompt does not fit the model's context.
    TooLong(String),
    /// The server refuses the request.
    Refused(String),
}
