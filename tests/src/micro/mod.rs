//! The micro model: about a million parameters, trained in minutes by this room, that plays every part of a run on
//! problems whose truth is known. Whole runs take seconds with it, and what they make can be checked.

pub mod problem;

pub mod drawing;

pub mod lessons;

pub mod tokenizer;

pub mod training;

pub mod data;

pub mod evidence;

pub mod skill;

mod cache;

pub use cache::{MicroModels, models, write_models};
pub use problem::{Flaw, Problem, Truth, truth};
