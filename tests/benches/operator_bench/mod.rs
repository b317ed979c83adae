//! The parts of the operator's benchmark.

pub mod argo;

pub mod load;

pub mod measure;

pub mod report;
