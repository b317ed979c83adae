//! QPO: trains a generator to prefer the rewritten question to the original, by DPO on the question tokens after the prefix
//! (paper, section 3.2).

use scalequest_crds::protocol::rows::PreferenceRow;
use scalequest_crds::protocol::task::StageParams;
use scalequest_engine::training::{DpoObjective, Example, PreferencePair};

use super::StageError;
use super::open_model::open_model;
use super::shard::{Shard, StageResult, wrong_params};
use super::training_stage::{InitialModel, SideOutput, run_training_stage};

/// Optimises a generator on preference pairs.
///
/// # Errors
/// There are no pairs, an input is corrupt, the model cannot be used, the workspace fails, or the task is cancelled.
pub fn qpo(shard: &Shard<'_>) -> Result<StageResult, StageError> {
    let StageParams::Qpo {
        model,
        system_prompt,
        beta,
        training,
    } = &shard.task.params
    else {
        return Err(wrong_params(shard));
    };
    let rows: Vec<PreferenceRow> = shard.read_input(0, "rows", shard.range.clone())?;
    if rows.is_empty() {
        return Err(StageError::Permanent(
            "there are no preference pairs: every sampled question or its rewrite was rejected; check the rejects of Sample and Rewrite, then raise qpo.pairs or change the rewriter".into(),
        ));
    }
    let checkpoint = open_model(shard, model)?;
    let tokenizer = checkpoint.tokenizer()?;
    let template = checkpoint.chat_template(&tokenizer)?;
    let prefix = template.question_prefix(system_prompt.as_deref())?;
    let prefix_tokens = tokenizer.encode(&prefix.text)?;
    let mut pairs = Vec::with_capacity(rows.len());
    for row in &rows {
        let example = |question: &str| -> Result<Example, StageError> {
            Ok(Example::question(
                &prefix_tokens,
                &tokenizer.encode_plain(question.trim())?,
                prefix.end_token,
            ))
        };
        pairs.push(PreferencePair {
            chosen: example(&row.chosen)?,
            rejected: example(&row.rejected)?,
        });
    }
    let max_length = usize::try_from(training.max_length).unwrap_or(0);
    let objective = || Ok(DpoObjective::new(pairs.clone(), *beta, max_length)?);
    let dropped = objective()?.dropped();
    let warnings = (dropped > 0).then(|| format!("{dropped} of {} preference pairs are longer than {max_length} tokens and were left out", rows.len()));
    let side_output = SideOutput {
        rows: Vec::new(),
        count: 0,
        warnings: warnings.into_iter().collect(),
    };
    let load = Box::new(move || Ok((checkpoint.config().clone(), checkpoint.parameters()?)));
    let initial = InitialModel {
        load,
        tokenizer,
        template: Some(template),
    };
    run_training_stage(shard, initial, objective, training, side_output)
}
