//! The worker: executes one stage task of a synthesis run.

pub mod inference;

pub mod dataset;

pub mod model;

pub mod ops;

pub mod training;

pub mod answers;
pub mod prompts;
