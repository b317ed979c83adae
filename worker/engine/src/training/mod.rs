//! Training: supervised fine-tuning (SFT), preference optimisation (DPO) and regression, over one loop that can be stopped at any step and
//! resumed bit for bit from a checkpoint. It knows the model and no stage, store or task: data comes as tokens, checkpoints go to a
//! [`TrainingCallback`].

pub mod trainer;

pub mod settings;

pub mod objective;

pub mod callback;

pub mod micro_batches;

pub mod sft;

pub mod dpo;

pub mod regression;

pub mod evaluate;

pub mod trainable_model;

pub mod lora;

pub mod initial;

pub mod packing;

pub mod gradient;

pub mod batch;

pub mod schedule;

pub mod optimizer;

pub mod checkpoint;

pub mod rng;

mod error;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;

pub use batch::Example;
pub use callback::{
    StepRecord, TrainingCallback, TrainingOutcome, TrainingProgress, TrainingSummary,
};
pub use dpo::{DpoObjective, PreferencePair};
pub use error::TrainingError;
pub use evaluate::{Evaluation, evaluate};
pub use gradient::{Gradient, gradient};
pub use objective::{BatchLoss, Objective};
pub use regression::{RegressionObjective, Target};
pub use settings::Plan;
pub use sft::SftObjective;
pub use trainable_model::TrainableModel;
pub use trainer::train;
