//! Serving a model: generating text and scoring it, with continuous batching, a prefix cache and chunked prefill. No result depends on the
//! composition of batches. It knows requests and results, not which stage asks or where results go.

mod engine;
mod error;
mod generator;
mod prefix_cache;
mod request;
mod rng;
mod sample;
mod schedule;
mod scorer;
mod step;

pub use engine::{Engine, KeyValueCache, Segment};
pub use error::InferenceError;
pub use generator::Generator;
pub use request::{Finish, GenerateRequest, Generation, Progress};
pub use rng::CounterRng;
pub use sample::{Sampling, sample_token};
pub use schedule::BatchLimits;
pub use scorer::{Scorer, first_tokens};
