//! Storage of a run's workspace: rows, trained models and checkpoints in a directory or an object store, written atomically and verified by
//! digest when they are read. It knows no model and decides nothing about rows.

pub mod store;

pub mod envelope;

pub mod workspace;

pub mod commit;

pub mod table;

pub mod seal;

pub mod checkpoint;

pub mod model_files;

pub mod question_files;

#[cfg(test)]
mod fixtures;

#[cfg(test)]
#[path = "../../../tests/src/harness/own_port.rs"]
mod own_port;
#[cfg(test)]
mod s3_server;

#[cfg(test)]
mod tests;
