//! Whole stages on tiny random models in temporary workspaces: each completes, resumes to the same bytes, gives the same rows in
//! shards of any size, and detects corrupt input.

#[path = "../../engine/tests/tiny/mod.rs"]
mod tiny;

mod binary;
mod chain;
mod corruption;
mod endpoint;
mod fixture;
mod places;
mod probe;
mod resume;
mod watchdog;
