//! The reference backend: candle tensors, f32, every operation differentiable. Composed of candle's elementary operations only, because its fused
//! `rms_norm`, `softmax_last_dim` and `rope` have no backward and cut the graph without an error.

mod attention;
mod cross_entropy;
mod embed;
mod linear;
mod rms_norm;
mod rope;
mod swiglu;

pub use attention::{attend, attention, segment_mask};
pub use cross_entropy::{cross_entropy, head_log_probabilities, token_log_probabilities};
pub use embed::embed;
pub use linear::linear;
pub use rms_norm::rms_norm;
pub use rope::rope;
pub use swiglu::swiglu;
