//! What a training says while it runs and at its end, and who listens.

use std::path::Path;

/// One step as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRecord {
    /// Mean loss before the step.
    pub loss: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// Gradient norm before clipping.
    pub gradient_norm: f64,
    /// Means of the objective's measures, in its order.
    pub measures: Vec<f64>,
}

/// How far a training is.
#[derive(Clone, Debug)]
pub struct TrainingProgress<'a> {
    /// `prepare` or `train`.
    pub doing: &'static str,
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Tokens read and learnt so far, over all epochs.
    pub tokens: u64,
    /// The last step.
    pub last: Option<&'a StepRecord>,
}

/// Whoever drives a training.
pub trait Watcher {
    /// Hears how far it is, after every step.
    fn progress(&mut self, progress: &TrainingProgress<'_>);

    /// Whether to stop. Asked between micro-batches; a step under way is given up and done again after a resume.
    fn should_stop(&mut self) -> bool;

    /// Keeps a checkpoint file, which is gone when this returns.
    ///
    /// # Errors
    /// It cannot be kept; training ends with that error.
    fn keep(
        &mut self,
        checkpoint: &Path,
        step: u64,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// What a finished training says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Every step in order.
    pub steps: Vec<StepRecord>,
    /// Tokens learnt from.
    pub tokens: u64,
}

/// How a training ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// All steps are done.
    Finished(Summary),
    /// It was asked to stop; a checkpoint of this many steps is kept.
    Stopped {
        /// Steps done.
        step: u64,
    },
}
