//! The arithmetic of a decoder, as a small set of operations with several bodies. `reference` is plain
//! candle in f32, differentiable: every other body is checked against it, and GPUs run it. `fused` trains on a CPU. `cpu`
//! serves: packed weights, and results for one row that depend on nothing but that row. It knows no model.

pub mod body;

pub mod arithmetic;

pub mod reference;

pub mod fused;

pub mod differentiable;

pub mod device;

pub mod cpu;

pub mod rotary;

pub use arithmetic::Arithmetic;
pub use body::Body;
pub use differentiable::Differentiable;
