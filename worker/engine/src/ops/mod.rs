//! The tensor operations of a decoder: a small set with several compute backends. `reference` is plain
//! candle in f32, differentiable: every other backend is checked against it, and GPUs run it. `fused` trains on a CPU. `cpu`
//! serves: packed weights, and results for one row that depend on nothing but that row. It knows no model.

pub mod backend;

pub mod dtype;

pub mod reference;

pub mod fused;

pub mod training_backend;

pub mod device;

pub mod cpu;

pub mod rotary;

pub use backend::ComputeBackend;
pub use dtype::Dtype;
pub use training_backend::TrainingBackend;
