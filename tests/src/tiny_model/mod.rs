//! The tiny model: about a million parameters, trained in minutes by this room, that has every role in a run on
//! problems whose truth is known. Whole runs take seconds with it, and what they make can be checked.

pub mod problem;

pub mod problem_sampler;

pub mod training_data;

pub mod tokenizer;

pub mod training;

pub mod data;

pub mod stats;

pub mod eval;

mod cache;

pub use cache::{TinyModels, models, write_models};
pub use problem::{Flaw, Problem, Truth, truth};
