//! The dataset room: where rows, models and checkpoints lie, how they get there whole or not at all, and how damage is
//! found. It knows no model and decides nothing about rows.

pub mod store;

pub mod envelope;

pub mod workspace;

pub mod commit;

pub mod table;

pub mod seal;

pub mod checkpoint;

pub mod model_files;

pub mod jsonl;

#[cfg(test)]
mod fixtures;

#[cfg(test)]
#[path = "../../../tests/src/harness/own_port.rs"]
mod own_port;
#[cfg(test)]
mod s3_server;

#[cfg(test)]
mod tests;
