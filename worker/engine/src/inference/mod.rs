//! Serving a model: generating text and scoring it, in batches whose composition no result depends on. It
//! knows requests and results; which stage asks, and where results go, it does not.

mod draw;
mod engine;
mod error;
mod feed;
mod generator;
mod remembered;
mod request;
mod sample;
mod schedule;
mod scorer;

pub use draw::Draw;
pub use engine::{Engine, KeyValueCache, Segment};
pub use error::InferenceError;
pub use generator::Generator;
pub use request::{Finish, GenerateRequest, Generation, Progress};
pub use sample::{Sampling, choose};
pub use schedule::Bounds;
pub use scorer::{Scorer, first_tokens};
