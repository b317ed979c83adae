//! Decides what a SynthesisRun does next, and executes it on one machine.

pub mod local;

pub mod cli;
