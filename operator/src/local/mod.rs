//! A run on this machine: the planner's plan, executed by child processes of the worker.

pub mod machine;

pub mod share;

pub mod program;

pub mod lock;

pub mod durable;

pub mod stop;

pub mod attempt;

pub mod stage_work;

pub mod progress;
