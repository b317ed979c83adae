//! The worker: executes one stage task of a synthesis run. `stages` drives the modules below it, which do not know each other: `endpoint`,
//! `fetch`; `dataset`, `filters`, `publish`; `prompts` and `answers`; and the crate `scalequest-engine`.

pub mod cli;

pub mod stages;

pub mod inspect;

pub mod prompts;

pub mod answers;

pub mod publish;

pub mod endpoint;

pub mod fetch;

mod dtype;

mod http;

pub mod filters;

pub mod dataset;
