//! What a training reports while it runs and at its end, and the callback that receives it.

use std::path::Path;

/// Loss, learning rate and metrics of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRecord {
    /// Mean loss before the step.
    pub loss: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// Gradient norm before clipping.
    pub gradient_norm: f64,
    /// Means of the objective's metrics, in its order.
    pub metrics: Vec<f64>,
}

/// Progress of a training.
#[derive(Clone, Debug)]
pub struct TrainingProgress<'a> {
    /// `prepare` or `train`.
    pub activity: &'static str,
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Tokens trained on so far, over all epochs.
    pub tokens: u64,
    /// The last step.
    pub last: Option<&'a StepRecord>,
}

/// Receives a training's progress and checkpoints, and may stop it (a training callback).
pub trait TrainingCallback {
    /// Receives the progress after every step.
    fn progress(&mut self, progress: &TrainingProgress<'_>);

    /// Whether to stop. Called between micro-batches; the step under way is discarded and computed again after a resume.
    fn should_stop(&mut self) -> bool;

    /// Saves a checkpoint file, which is deleted when this returns.
    ///
    /// # Errors
    /// It cannot be saved; training ends with that error.
    fn save_checkpoint(
        &mut self,
        checkpoint: &Path,
        step: u64,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// Steps and tokens of a finished training.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingSummary {
    /// Every step in order.
    pub steps: Vec<StepRecord>,
    /// Tokens trained on.
    pub tokens: u64,
}

/// How a training ended.
#[derive(Clone, Debug, PartialEq)]
pub enum TrainingOutcome {
    /// All steps are done.
    Finished(TrainingSummary),
    /// It was asked to stop; a checkpoint of this many steps is saved.
    Stopped {
        /// Steps done.
        step: u64,
    },
}
