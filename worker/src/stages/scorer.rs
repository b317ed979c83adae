//! Scorer: a base model with a new scalar head learns to predict the solver's fail rate from a question (paper, section 3.3).

use scalequest_crds::protocol::rows::LabelRow;
use scalequest_crds::protocol::task::StageParams;
use scalequest_engine::training::initial::with_scalar_head;
use scalequest_engine::training::{Regression, Target};

use super::StageError;
use super::difficulty_tokens::difficulty_tokens;
use super::models::open_model;
use super::run_training::{Beside, Starting, run_training};
use super::shard::{Finished, Shard, wrong_params};

/// Trains the difficulty scorer.
///
/// # Errors
/// There are no labels, an input is damaged, the model cannot be used, the workspace fails, or a stop was asked for.
pub fn scorer(shard: &Shard<'_>) -> Result<Finished, StageError> {
    let StageParams::Scorer { model, training } = &shard.task.params else {
        return Err(wrong_params(shard));
    };
    let rows: Vec<LabelRow> = shard.read_input(0, "rows", shard.range.clone())?;
    if rows.is_empty() {
        return Err(StageError::Task("there are no labels: no seed question has a reference answer; set seedQuestions[].answerField".into()));
    }
    let checkpoint = open_model(shard, model)?;
    let tokenizer = checkpoint.tokenizer()?;
    let template = checkpoint.chat_template(&tokenizer).ok();
    let mut targets = Vec::with_capacity(rows.len());
    for row in &rows {
        targets.push(Target {
            tokens: difficulty_tokens(&tokenizer, &row.question)?,
            value: row.fail_rate as f32,
        });
    }
    let max_length = usize::try_from(training.max_length).unwrap_or(0);
    let objective = || Ok(Regression::new(targets.clone(), max_length)?);
    let dropped = objective()?.dropped();
    let warnings = (dropped > 0).then(|| format!("{dropped} of {} labelled questions are longer than {max_length} tokens and were left out", rows.len()));
    let beside = Beside {
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
    run_training(
        shard,
        Starting {
            load,
            tokenizer,
            template,
        },
        objective,
        training,
        beside,
    )
}
