//! The worker: executes one stage task of a synthesis run.

pub mod dataset;

pub mod publish;
