//! How a training runs and which parameters it changes.

use std::path::Path;

use super::optimizer::AdamWSettings;

/// Epochs, batches, learning rate and checkpoints of a training.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingSettings {
    /// Passes over the data.
    pub epochs: usize,
    /// Units of data per step: packed sequences, pairs or rows.
    pub batch_size: usize,
    /// Peak learning rate; cosine to zero after the warm-up.
    pub learning_rate: f64,
    /// Warm-up as a share of all steps.
    pub warmup_ratio: f64,
    /// Steps between checkpoints; 0 for none.
    pub checkpoint_steps: u64,
}

/// A training's settings, seed, identity and directories.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Epochs, batches, learning rate and checkpoints.
    pub settings: &'a TrainingSettings,
    /// The run's seed.
    pub seed: i64,
    /// What the shuffles are keyed by, beside seed and epoch: the stage and generator.
    pub purpose: &'a str,
    /// What the training is called in its checkpoints, so that no other resumes from them: the task's content key.
    pub identity: &'a str,
    /// Optimizer constants.
    pub optimizer: AdamWSettings,
    /// An existing directory of this process in which checkpoint files are written before they are saved.
    pub scratch: &'a Path,
    /// A checkpoint to resume from.
    pub resume: Option<&'a Path>,
}

/// Which parameters a training changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tuning {
    /// All parameters.
    Full,
    /// Low-rank adapters on the linear layers, and the head of a scalar or classifying model.
    Lora(Lora),
}

/// Low-rank adapters (LoRA, arXiv 2106.09685).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lora {
    /// Rank of the adapters.
    pub rank: usize,
    /// Scale: what the adapters add is multiplied by alpha / rank.
    pub alpha: f64,
}
