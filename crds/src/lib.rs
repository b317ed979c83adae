//! The contract of ScaleQuest Operator. [`v1alpha1`] is the API: what a user writes and reads. [`protocol`] is what operator and worker
//! say to each other. Operator and worker both depend on this crate and never on each other; it knows neither a cluster nor a model,
//! and no client of an API server can be reached from it.

pub mod v1alpha1;

pub mod protocol;

pub mod digest;
