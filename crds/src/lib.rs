//! The contract of ScaleQuest Operator. [`v1alpha1`] is the API that users write and read. [`protocol`] is the interface between operator
//! and worker. Both depend on this crate and never on each other. It knows neither a cluster nor a model, and depends on no API client.

pub mod v1alpha1;

pub mod protocol;

pub mod digest;
