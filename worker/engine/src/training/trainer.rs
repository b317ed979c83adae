//! The training loop: batches in keyed order, gradients accumulated over micro-batches, clipping, AdamW; between steps it reports to the
//! callback, checks whether to stop and, every few steps, saves a checkpoint. It knows no loss and no store.

use super::callback::{
    StepRecord, TrainingCallback, TrainingOutcome, TrainingProgress, TrainingSummary,
};
use super::checkpoint::TrainingState;
use super::gradient::gradient;
use super::micro_batches::{batches, tokens_of};
use super::objective::Objective;
use super::optimizer::{AdamW, LARGEST_GRADIENT_NORM, clipping, global_norm};
use super::schedule::Schedule;
use super::settings::Plan;
use super::{TrainableModel, TrainingError};
use crate::ops::fused::Gradients;

/// Trains `model` by `objective`, from the start or from `plan.resume`. Where it is stopped and how often it is
/// resumed does not change a bit of the result.
///
/// # Errors
/// A setting is impossible; the checkpoint is another training's; the loss is not a number (names the step);
/// a parameter has no gradient; the callback cannot save a checkpoint.
pub fn train<O: Objective>(
    model: &TrainableModel,
    objective: &mut O,
    plan: &Plan<'_>,
    callback: &mut dyn TrainingCallback,
) -> Result<TrainingOutcome, TrainingError> {
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
        objective.load_state(state.state).map_err(refuse)?;
        state.weights.restore(model.variables()).map_err(refuse)?;
        (optimizer, records) = (state.optimizer, state.records);
    }

    let mut tokens: u64 = batches[..records.len()]
        .iter()
        .flatten()
        .map(|unit| tokens_of(objective, unit))
        .sum();
    let save = |objective: &O,
                optimizer: &AdamW,
                records: &[StepRecord],
                callback: &mut dyn TrainingCallback| {
        let step = records.len() as u64;
        let path = plan.scratch.join("training.safetensors");
        TrainingState::write(
            &path,
            plan.identity,
            model.variables(),
            optimizer,
            records,
            objective.state(),
        )?;
        let saved = callback
            .save_checkpoint(&path, step)
            .map_err(|source| TrainingError::SaveCheckpoint { step, source });
        // A file that stays behind is overwritten by the next checkpoint.
        let _ = std::fs::remove_file(&path);
        saved
    };

    // The state is of the untrained model: after the first step there is nothing left to prepare.
    while records.is_empty() {
        let prepared = objective.prepare(model.decoder())?;
        callback.progress(&TrainingProgress {
            activity: "prepare",
            step: 0,
            steps,
            tokens,
            last: None,
        });
        if callback.should_stop() {
            save(objective, &optimizer, &records, callback)?;
            return Ok(TrainingOutcome::Stopped { step: 0 });
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
            model,
            number: records.len() as u64 + 1,
            steps,
        };
        let taken = step.take(
            objective,
            batch,
            &mut optimizer,
            &mut gradients,
            learning_rate,
            callback,
        )?;
        let Some(record) = taken else {
            save(objective, &optimizer, &records, callback)?;
            return Ok(TrainingOutcome::Stopped {
                step: records.len() as u64,
            });
        };
        records.push(record);
        tokens += batch
            .iter()
            .map(|unit| tokens_of(objective, unit))
            .sum::<u64>();
        let done = records.len() as u64;
        callback.progress(&TrainingProgress {
            activity: "train",
            step: done,
            steps,
            tokens,
            last: records.last(),
        });
        if interval > 0 && done.is_multiple_of(interval) && done < steps {
            save(objective, &optimizer, &records, callback)?;
        }
    }
    Ok(TrainingOutcome::Finished(TrainingSummary {
        steps: records,
        tokens,
    }))
}

/// One training step.
struct Step<'a> {
    model: &'a TrainableModel,
    /// From 1.
    number: u64,
    steps: u64,
}

impl Step<'_> {
    /// Takes the step; `None` if the callback wants to stop first.
    fn take<O: Objective>(
        &self,
        objective: &O,
        batch: &[Vec<usize>],
        optimizer: &mut AdamW,
        gradients: &mut Gradients,
        learning_rate: f64,
        callback: &mut dyn TrainingCallback,
    ) -> Result<Option<StepRecord>, TrainingError> {
        let mut should_stop = || callback.should_stop();
        let found = gradient(self.model, objective, batch, gradients, &mut should_stop)?;
        let Some(mut found) = found else {
            return Ok(None);
        };
        let (loss, metrics) = (found.loss, std::mem::take(&mut found.metrics));
        self.check_finite("the loss", loss)?;
        let gradient_norm = global_norm(&found.values)?;
        self.check_finite("the gradient norm", gradient_norm)?;
        let scale = clipping(gradient_norm, LARGEST_GRADIENT_NORM);
        let variables = self.model.variables();
        optimizer.apply(variables, &found.values, learning_rate, scale)?;
        found.reuse(self.model, gradients);
        Ok(Some(StepRecord {
            loss,
            learning_rate,
            gradient_norm,
            metrics,
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
