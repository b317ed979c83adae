//! The engine: language models on CPUs and GPUs. `inference` and `training` over `model` over `ops`, and `bench`, which measures them. It
//! knows no run, row, task or store.

pub mod bench;

pub mod inference;

pub mod training;

pub mod model;

pub mod ops;
