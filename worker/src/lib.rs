//! The worker: executes one stage task of a synthesis run. `stages` drives the modules below it, which do not know each other: `openai`,
//! `hub`; `storage`, `filters`, `publish`; `prompts` and `answers`; and the crate `scalequest-engine`.

pub mod cli;

pub mod stages;

pub mod preflight;

pub mod prompts;

pub mod answers;

pub mod publish;

pub mod openai;

pub mod hub;

mod dtype;

mod http;

pub mod filters;

pub mod storage;
