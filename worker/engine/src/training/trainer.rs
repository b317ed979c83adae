//! The training loop: batches in keyed order, gradients accumulated over micro-batches, clipping, AdamW, and
//! between steps a word to the watcher, a look at whether to stop and, every few steps, a checkpoint. It
//! knows no loss and no store.

use super::checkpoint::TrainingState;
use super::gradient::gradient;
use super::micro_batches::{batches, tokens_of};
use super::objective::Objective;
use super::optimizer::{AdamW, LARGEST_GRADIENT_NORM, clipping, global_norm};
use super::schedule::Schedule;
use super::settings::Plan;
use super::watch::{Ended, StepRecord, Summary, TrainingProgress, Watcher};
use super::{Trainee, TrainingError};
use crate::ops::fused::Gradients;

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

    let interval = plan.settings.checkpoint_steps;
    let mut gradients = Gradients::default();
    for batch in &batches[records.len()..] {
        let learning_rate = schedule.learning_rate(records.len() as u64);
        let step = Step {
            trainee,
            number: records.len() as u64 + 1,
            steps,
        };
        let taken = step.take(
            objective,
            batch,
            &mut optimizer,
            &mut gradients,
            learning_rate,
            watcher,
        )?;
        let Some(record) = taken else {
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
        gradients: &mut Gradients,
        learning_rate: f64,
        watcher: &mut dyn Watcher,
    ) -> Result<Option<StepRecord>, TrainingError> {
        let mut should_stop = || watcher.should_stop();
        let found = gradient(self.trainee, objective, batch, gradients, &mut should_stop)?;
        let Some(mut found) = found else {
            return Ok(None);
        };
        let (loss, measures) = (found.loss, std::mem::take(&mut found.measures));
        self.check_finite("the loss", loss)?;
        let gradient_norm = global_norm(&found.values)?;
        self.check_finite("the gradient norm", gradient_norm)?;
        let scale = clipping(gradient_norm, LARGEST_GRADIENT_NORM);
        let variables = self.trainee.variables();
        optimizer.apply(variables, &found.values, learning_rate, scale)?;
        found.reuse(self.trainee, gradients);
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
