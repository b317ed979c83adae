//! The training loop: batches in keyed order, gradients accumulated over micro-batches, clipping, AdamW, and
//! between steps a word to the watcher, a look at whether to stop and, every few steps, a checkpoint. It
//! knows no loss and no store.

use std::path::Path;

use candle_core::Tensor;
use scalequest_crds::task::Training;

use super::checkpoint::TrainingState;
use super::draw::Draws;
use super::gradient::{Gradient, gradient};
use super::optimizer::{AdamW, AdamWSettings, LARGEST_GRADIENT_NORM, clipping, global_norm};
use super::schedule::Schedule;
use super::{Trainee, TrainingError};
use crate::model::Decoder;

/// Tokens (padding included) of a micro-batch. A constant and not a measure of the machine's memory, because
/// the split decides the order in which gradients are added, and so bits.
const MICRO_BATCH_TOKENS: usize = 1024;

/// What is learnt: units of data (a packed row, a pair, a target) and their loss.
pub trait Objective {
    /// Names of the measures that [`Part::measures`] sums.
    fn measures(&self) -> &'static [&'static str] {
        &[]
    }

    /// The units of one epoch, in the order in which they are learnt; each is a list of example indices.
    fn units(&self, draws: &mut Draws) -> Vec<Vec<usize>>;

    /// Rows and tokens in the longest row that a unit takes in a batch.
    fn extent(&self, unit: &[usize]) -> (usize, usize);

    /// What a unit counts for in the mean: learnt tokens, pairs, or targets.
    fn weight(&self, unit: &[usize]) -> f64;

    /// The summed loss of some units as a differentiable scalar.
    ///
    /// # Errors
    /// As the forward pass.
    fn loss(&self, model: &Decoder, units: &[&[usize]]) -> Result<Part, TrainingError>;

    /// One bounded piece of what must be known of the untrained model; true when there is no more to do.
    ///
    /// # Errors
    /// As the forward pass.
    fn prepare(&mut self, _model: &Decoder) -> Result<bool, TrainingError> {
        Ok(true)
    }

    /// What [`Objective::prepare`] found so far, to be kept in checkpoints.
    fn notes(&self) -> &[f32] {
        &[]
    }

    /// Takes back the notes of a checkpoint.
    ///
    /// # Errors
    /// Says why they cannot be this objective's.
    fn take_notes(&mut self, _notes: Vec<f32>) -> Result<(), String> {
        Ok(())
    }
}

/// The loss of one micro-batch.
pub struct Part {
    /// Summed over the units, a scalar f32.
    pub loss: Tensor,
    /// Summed over the units.
    pub measures: Vec<f64>,
}

/// How to train.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Settings of the task.
    pub settings: &'a Training,
    /// The run's seed.
    pub seed: i64,
    /// What the shuffles are keyed by, beside seed and epoch: the stage and generator.
    pub purpose: &'a str,
    /// What the training is called in its checkpoints, so that no other takes them up: the task's content key.
    pub identity: &'a str,
    /// Optimizer constants.
    pub optimizer: AdamWSettings,
    /// An existing directory of this process in which checkpoint files are written before they are kept.
    pub scratch: &'a Path,
    /// A checkpoint to go on from.
    pub resume: Option<&'a Path>,
}

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

/// Trains `trainee` by `objective`, from the start or from `plan.resume`. Where it is stopped and how often it is
/// resumed does not change a bit of the result.
///
/// # Errors
/// A setting is impossible; the checkpoint is another training's; the loss is not a number (names the step);
/// a parameter has no gradient; the watcher cannot keep a checkpoint.
pub fn train<O: Objective>(
    trainee: &Trainee,
    objective: &mut O,
    plan: &Plan<'_>,
    watcher: &mut dyn Watcher,
) -> Result<Ended, TrainingError> {
    let batches = batches(objective, plan)?;
    let steps = batches.len() as u64;
    let schedule = Schedule::new(
        plan.settings.learning_rate,
        plan.settings.warmup_ratio,
        steps,
    );
    let mut optimizer = AdamW::new(plan.optimizer);
    let mut records: Vec<StepRecord> = Vec::new();
    if let Some(path) = plan.resume {
        let state = TrainingState::read(path, plan.identity, plan.optimizer)?;
        let refuse = |reason: String| TrainingError::Checkpoint {
            path: path.to_owned(),
            reason,
        };
        if state.records.len() > batches.len() {
            return Err(refuse(format!(
                "it is {} steps far, this training has {steps}",
                state.records.len()
            )));
        }
        objective.take_notes(state.notes).map_err(refuse)?;
        state.weights.restore(trainee.variables()).map_err(refuse)?;
        (optimizer, records) = (state.optimizer, state.records);
    }

    let mut tokens: u64 = batches[..records.len()]
        .iter()
        .flatten()
        .map(|unit| tokens_of(objective, unit))
        .sum();
    let keep =
        |objective: &O, optimizer: &AdamW, records: &[StepRecord], watcher: &mut dyn Watcher| {
            let step = records.len() as u64;
            let path = plan.scratch.join("training.safetensors");
            TrainingState::write(
                &path,
                plan.identity,
                trainee.variables(),
                optimizer,
                records,
                objective.notes(),
            )?;
            let kept = watcher
                .keep(&path, step)
                .map_err(|source| TrainingError::Keep { step, source });
            // A file that stays behind is overwritten by the next checkpoint.
            let _ = std::fs::remove_file(&path);
            kept
        };

    // The notes are of the untrained model: after the first step there is nothing left to prepare.
    while records.is_empty() {
        let prepared = objective.prepare(trainee.decoder())?;
        watcher.progress(&TrainingProgress {
            doing: "prepare",
            step: 0,
            steps,
            tokens,
            last: None,
        });
        if watcher.should_stop() {
            keep(objective, &optimizer, &records, watcher)?;
            return Ok(Ended::Stopped { step: 0 });
        }
        if prepared {
            break;
        }
    }

    let interval = u64::try_from(plan.settings.checkpoint_steps).unwrap_or(0);
    for batch in &batches[records.len()..] {
        let learning_rate = schedule.learning_rate(records.len() as u64);
        let step = Step {
            trainee,
            number: records.len() as u64 + 1,
            steps,
        };
        let Some(record) = step.take(objective, batch, &mut optimizer, learning_rate, watcher)?
        else {
            keep(objective, &optimizer, &records, watcher)?;
            return Ok(Ended::Stopped {
                step: records.len() as u64,
            });
        };
        records.push(record);
        tokens += batch
            .iter()
            .map(|unit| tokens_of(objective, unit))
            .sum::<u64>();
        let done = records.len() as u64;
        watcher.progress(&TrainingProgress {
            doing: "train",
            step: done,
            steps,
            tokens,
            last: records.last(),
        });
        if interval > 0 && done.is_multiple_of(interval) && done < steps {
            keep(objective, &optimizer, &records, watcher)?;
        }
    }
    Ok(Ended::Finished(Summary {
        steps: records,
        tokens,
    }))
}

/// One step in the making.
struct Step<'a> {
    trainee: &'a Trainee,
    /// From 1.
    number: u64,
    steps: u64,
}

impl Step<'_> {
    /// Takes the step; nothing where the watcher wants to stop first.
    fn take<O: Objective>(
        &self,
        objective: &O,
        batch: &[Vec<usize>],
        optimizer: &mut AdamW,
        learning_rate: f64,
        watcher: &mut dyn Watcher,
    ) -> Result<Option<StepRecord>, TrainingError> {
        let mut should_stop = || watcher.should_stop();
        let Some(found) = gradient(self.trainee, objective, batch, &mut should_stop)? else {
            return Ok(None);
        };
        let Gradient {
            loss,
            measures,
            values,
        } = found;
        self.check_finite("the loss", loss)?;
        let gradient_norm = global_norm(&values)?;
        self.check_finite("the gradient norm", gradient_norm)?;
        let scale = clipping(gradient_norm, LARGEST_GRADIENT_NORM);
        optimizer.apply(self.trainee.variables(), &values, learning_rate, scale)?;
        Ok(Some(StepRecord {
            loss,
            learning_rate,
            gradient_norm,
            measures,
        }))
    }

    fn check_finite(&self, what: &'static str, value: f64) -> Result<(), TrainingError> {
        if value.is_finite() {
            return Ok(());
        }
        Err(TrainingError::NotFinite {
            what,
            value,
            step: self.number,
            steps: self.steps,
        })
    }
}

/// All steps' units, over all epochs. The last batch of an epoch may be smaller.
fn batches<O: Objective>(
    objective: &O,
    plan: &Plan<'_>,
) -> Result<Vec<Vec<Vec<usize>>>, TrainingError> {
    let at_least_one = |field: &'static str, value: i32| {
        usize::try_from(value)
            .ok()
            .filter(|value| *value > 0)
            .ok_or_else(|| TrainingError::Setting {
                field,
                value: value.to_string(),
                reason: "expected 1 or more".into(),
            })
    };
    let size = at_least_one("batchSize", plan.settings.batch_size)?;
    let epochs = at_least_one("epochs", plan.settings.epochs)?;
    let mut batches = Vec::new();
    for epoch in 0..epochs {
        let mut draws = Draws::keyed(
            plan.seed,
            &format!("{} shuffle", plan.purpose),
            epoch as u64,
        );
        let mut units = objective.units(&mut draws).into_iter().peekable();
        while units.peek().is_some() {
            batches.push(units.by_ref().take(size).collect());
        }
    }
    if batches.is_empty() {
        return Err(TrainingError::NoExamples("no unit of data was made".into()));
    }
    Ok(batches)
}

/// Splits units, in order, into micro-batches that stay within a fixed number of tokens, padding included; a unit
/// that is larger stands alone.
pub fn micro_batches<'a, O: Objective>(
    objective: &O,
    units: &'a [Vec<usize>],
) -> Vec<Vec<&'a [usize]>> {
    let mut batches: Vec<Vec<&[usize]>> = Vec::new();
    let (mut rows, mut longest) = (0, 0);
    for unit in units {
        let (more, length) = objective.extent(unit);
        match batches.last_mut() {
            Some(batch) if (rows + more) * longest.max(length) <= MICRO_BATCH_TOKENS => {
                batch.push(unit);
                (rows, longest) = (rows + more, longest.max(length));
            }
            _ => {
                batches.push(vec![unit]);
                (rows, longest) = (more, length);
            }
        }
    }
    batches
}

fn tokens_of<O: Objective>(objective: &O, unit: &[usize]) -> u64 {
    let (rows, longest) = objective.extent(unit);
    (rows * longest) as u64
}
