//! The worker: executes one stage task of a synthesis run. `stages` drives the rooms below it, which do not know each other:
//! `inference` and `training` over `model` over `ops`; `endpoint`, `fetch`; `dataset`, `filters`, `publish`; and the words, `prompts` and `answers`.

pub mod cli;

pub mod stages;

pub mod inspect;

pub mod bench;

pub mod prompts;

pub mod answers;

pub mod publish;

pub mod inference;

pub mod endpoint;

pub mod fetch;

mod http;

pub mod training;

pub mod filters;

pub mod dataset;

pub mod model;

pub mod ops;
