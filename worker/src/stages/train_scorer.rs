//! TrainScorer: trains a base model with a new scalar head to predict the solver's fail rate from a question (paper, section
//! 3.3).

use scalequest_crds::protocol::rows::LabelRow;
use scalequest_crds::protocol::task::StageParams;
use scalequest_engine::training::initial::with_scalar_head;
use scalequest_engine::training::{RegressionObjective, Target};

use super::StageError;
use super::open_model::open_model;
use super::scorer_input::encode_question;
use super::shard::{Shard, StageResult, wrong_params};
use super::training_stage::{InitialModel, SideOutput, run_training_stage};

/// Trains the difficulty scorer.
///
/// # Errors
/// There are no labels, an input is corrupt, the model cannot be used, the workspace fails, or the task is cancelled.
pub fn train_scorer(shard: &Shard<'_>) -> Result<StageResult, StageError> {
    let StageParams::TrainScorer { model, training } = &shard.task.params else {
        return Err(wrong_params(shard));
    };
    let rows: Vec<LabelRow> = shard.read_input(0, "rows", shard.range.clone())?;
    if rows.is_empty() {
        return Err(StageError::Permanent("there are no labels: no seed question has a reference answer; set seedQuestions[].answerField".into()));
    }
    let checkpoint = open_model(shard, model)?;
    let tokenizer = checkpoint.tokenizer()?;
    let template = checkpoint.chat_template(&tokenizer).ok();
    let mut targets = Vec::with_capacity(rows.len());
    for row in &rows {
        targets.push(Target {
            tokens: encode_question(&tokenizer, &row.question)?,
            value: row.fail_rate as f32,
        });
    }
    let max_length = usize::try_from(training.max_length).unwrap_or(0);
    let objective = || Ok(RegressionObjective::new(targets.clone(), max_length)?);
    let dropped = objective()?.dropped();
    let warnings = (dropped > 0).then(|| format!("{dropped} of {} labelled questions are longer than {max_length} tokens and were left out", rows.len()));
    let side_output = SideOutput {
        rows: Vec::new(),
        count: 0,
        warnings: warnings.into_iter().collect(),
    };
    let seed = shard.task.seed;
    let load = Box::new(move || match checkpoint.config().head.is_scalar() {
        true => Ok((checkpoint.config().clone(), checkpoint.parameters()?)),
        false => Ok(with_scalar_head(
            checkpoint.config().clone(),
            checkpoint.parameters()?,
            seed,
        )?),
    });
    run_training_stage(
        shard,
        InitialModel {
            load,
            tokenizer,
            template,
        },
        objective,
        training,
        side_output,
    )
}
