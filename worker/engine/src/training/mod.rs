//! Training: question fine-tuning, preference optimisation and regression, over one loop that can be
//! stopped at any step and resumed bit for bit. It knows the model and no stage, store or task: what to learn
//! from comes as tokens, what to keep goes to a [`Watcher`].

pub mod trainer;

pub mod settings;

pub mod objective;

pub mod watch;

pub mod micro_batches;

pub mod sft;

pub mod dpo;

pub mod regression;

pub mod evaluate;

pub mod trainee;

pub mod lora;

pub mod initial;

pub mod packing;

pub mod gradient;

pub mod batch;

pub mod schedule;

pub mod optimizer;

pub mod checkpoint;

pub mod draw;

mod error;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;

pub use batch::Example;
pub use dpo::{Pair, Preference};
pub use error::TrainingError;
pub use evaluate::{Evaluation, evaluate};
pub use gradient::{Gradient, gradient};
pub use objective::{Objective, Part};
pub use regression::{Regression, Target};
pub use settings::Plan;
pub use sft::QuestionModelling;
pub use trainee::Trainee;
pub use trainer::train;
pub use watch::{Ended, StepRecord, Summary, TrainingProgress, Watcher};
