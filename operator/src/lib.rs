//! Decides what a SynthesisRun does next, and executes it, on one machine or in a cluster.
//!
//! [`parse`] and [`validate`] turn what a person wrote into a [`validate::ValidRun`], [`plan`] decides from it and the [`record`] what
//! runs now, [`estimate`] says beforehand what it will take, [`status`] says how far it is. All of these are pure. [`local`] executes a
//! plan by child processes, [`cluster`] by Jobs; [`cli`] is the command line.

pub mod parse;

pub mod recipe;

pub mod validate;

pub mod record;

pub mod plan;

pub mod estimate;

pub mod status;

pub mod local;

pub mod cluster;

pub mod cli;
