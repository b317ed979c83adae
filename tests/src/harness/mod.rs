//! The workbench: a directory of its own for each scenario, the real binaries, and what is looked at afterwards.

pub mod binaries;

pub mod workbench;

pub mod processes;

pub mod dataset;

pub mod crash;

pub use workbench::{Finished, Workbench};
