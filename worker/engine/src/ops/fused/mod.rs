//! The reference's operations for training on a CPU: the same formulas, each in one pass over its rows on all threads, with its backward
//! pass written out. candle composes them of elementary operations, most of which run on one thread and make a fresh tensor.
//!
//! Every sum goes in one fixed order, so the gradients depend on neither the number of threads nor the instructions.

mod attention;
mod embed;
mod gradients;
mod linear;
mod log_probabilities;
mod rms_norm;
mod rows;
mod swiglu;

pub use attention::attend;
pub use embed::embed;
pub use gradients::Gradients;
pub use linear::linear;
pub use log_probabilities::head_log_probabilities;
pub use rms_norm::rms_norm;
pub use rows::read;
pub use swiglu::swiglu;

#[cfg(test)]
mod tests;
