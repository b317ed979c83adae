//! A run on this machine: the planner's plan, executed by child processes of the worker. It starts, watches, retries
//! and stops them; it decides nothing about the run.

pub mod error;

pub mod options;

pub mod machine;

pub mod allocation;

pub mod gpus;

pub mod program;

pub mod locations;

pub mod shutdown;

pub mod child;

pub mod preflight;

pub mod lock;

pub mod durable;

pub mod record_file;

pub mod status_file;

pub mod accept;

pub mod attempt;

pub mod run_loop;

pub mod prune;

pub mod progress;
