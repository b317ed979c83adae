//! The test environment: a directory of its own for each scenario, the real binaries, and what is looked at afterwards.

pub mod binaries;

pub mod test_env;

pub mod tiny_run;

pub mod finished_run;

pub mod processes;

pub mod dataset;

pub mod crash;

pub mod corruption;

pub mod broken_model;

pub mod filesystem;

pub mod own_port;

pub mod certificate;

pub mod object_server;

pub mod chat_server;

pub mod hub_server;

pub use finished_run::FinishedRun;
pub use test_env::{Finished, TestEnv};
pub use tiny_run::TinyRun;
