//! Decides what a SynthesisRun does next. Pure: values in, values out, without input and output, clock, runtime or client.
//!
//! [`parse`] and [`validate`] turn what a user wrote into a [`validate::ValidRun`], [`plan`] decides from it and the [`record`] what
//! runs now, [`estimate`] computes beforehand what that takes, [`status`] computes how far it is. Two crates execute plans:
//! `scalequest-runner` by child processes, `scalequest-controller` by Jobs.

pub mod nearest;

pub mod field_error;

pub mod parse;

pub mod recipe;

pub mod validate;

pub mod retry;

pub mod record;

pub mod plan;

pub mod stage_machine;

pub mod estimate;

pub mod status;

pub mod memory;

pub mod format_bytes;
