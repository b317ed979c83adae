//! The engine: language models on CPUs and GPUs. `inference` and `training` over `model` over `ops`, `bench`, which measures them, and `heartbeat`, which counts their work. It
//! knows no run, row, task or store.

pub mod bench;

pub mod inference;

pub mod training;

pub mod model;

pub mod ops;

pub mod heartbeat;
