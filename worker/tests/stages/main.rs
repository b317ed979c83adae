//! Whole stages on tiny random models in temporary workspaces: each runs, a stopped one goes on to the same bytes, shards of any
//! size make the same rows, and damage is found where it is read.

#[path = "../../engine/tests/tiny/mod.rs"]
mod tiny;

mod binary;
mod chain;
mod corruption;
mod fixture;
mod resume;
