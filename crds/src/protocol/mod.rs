//! The protocol between operator and worker. The operator writes a [`task`] for each stage. The worker reads and writes [`rows`], commits
//! a [`manifest`] for each shard, and returns a [`report`], its [`progress`] and an exit code ([`exit_codes`]). Before a run is accepted,
//! a worker reports what it found ([`preflight`]). A [`profile`] holds the throughput of a machine. Outputs are addressed by their
//! [`content_key`]. None of it is part of the API: it may change with every version, and operator and worker must have the same version.

pub mod task;

pub mod rows;

pub mod manifest;

pub mod shard_set;

pub mod cause;

pub mod report;

pub mod preflight;

pub mod profile;

pub mod progress;

pub mod exit_codes;

pub mod content_key;

/// File name of the worker's program.
pub const WORKER_PROGRAM: &str = "scalequest-worker";
