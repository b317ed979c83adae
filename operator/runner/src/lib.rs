//! A run on this machine: the planner's plan, executed by child processes of the worker. It starts, watches, repeats
//! and stops them; it decides nothing about the run.

pub mod machine;

pub mod share;

pub mod memory;

pub mod gpus;

pub mod program;

pub mod places;

pub mod inspect;

pub mod lock;

pub mod durable;

pub mod record_file;

pub mod accept;

pub mod stop;

pub mod attempt;

pub mod stage_work;

pub mod drive;

pub mod prune;

pub mod progress;
