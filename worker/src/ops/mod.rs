//! The arithmetic of a decoder, as a small set of operations with several bodies. `reference` is plain
//! candle in f32, differentiable: training runs on it and every other body is checked against it. `cpu`
//! serves: packed weights, and results for one row that depend on nothing but that row. It knows no model.

pub mod body;

pub mod reference;

pub mod cpu;

pub mod rotary;

pub use body::Body;

/// The name of the arithmetic that serves, for manifests: two runs of the same name give the same bits. One
/// name covers every instruction set of the CPU body, because all of them sum in the same order.
pub fn body_name() -> &'static str {
    "cpu-f32"
}
