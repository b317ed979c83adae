//! The contract of ScaleQuest Operator: what a user writes ([`run`]), what the operator tells a worker to do ([`task`]),
//! what a worker answers ([`report`], [`exit`], [`inspection`]) and how work is addressed by its content ([`key`]).
//! Operator and worker both depend on this crate and never on each other; it knows neither a cluster nor a model.

// clippy takes the repeated `validation = …` members of one attribute for duplicates.
#[allow(clippy::duplicated_attributes)]
pub mod run;

pub mod stage;

pub mod task;

pub mod row;

pub mod manifest;

pub mod report;

pub mod inspection;

pub mod rates;

pub mod progress;

pub mod exit;

pub mod key;

pub mod conditions;

mod crd;

pub use crd::{crd_yaml, schema};
pub use stage::Stage;
