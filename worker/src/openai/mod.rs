//! A model that somebody else serves, behind an OpenAI-compatible endpoint: requests over the network, many under way at once, each
//! repeated as long as that may help. It knows no stage and no row.

mod ask_all;

mod client;

mod failure;

mod probe;

mod open;

mod own_server;

mod pooling;

mod reply;

mod wire;

pub use ask_all::Answered;
pub use client::{Endpoint, Patience};
pub use open::open;
pub use own_server::OwnServer;
pub use reply::{Alternative, Reply};
pub use wire::{Question, Shape};

/// Why an endpoint cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// A stop was asked for.
    #[error("stopped")]
    Stopped,
    /// No request can work as it is: the key, the model's name or the URL is wrong, or the server lacks what is asked of it.
    #[error("{0}")]
    Denied(String),
    /// The endpoint gave no answer for as long as there is patience.
    #[error("{0}")]
    Unavailable(String),
    /// The server that the stage started for itself cannot be kept up.
    #[error("{0}")]
    Broken(String),
}

/// Why one question has no answer, though the endpoint answers others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Declined {
    /// It does not fit the model's context; what the server said.
    TooLong(String),
    /// The server refuses it; what it said.
    Refused(String),
}
