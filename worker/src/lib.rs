//! The worker: executes one stage task of a synthesis run. `cli` reads the task; `stages` drives the modules below it and the crate
//! `scalequest-engine`; `preflight` checks a spec before a run. The lower modules know neither stages nor tasks: `openai` and `hub` (over `http`),
//! `publish` and `hub` (over `storage`), `filters`, `answers` and `prompts`.

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
