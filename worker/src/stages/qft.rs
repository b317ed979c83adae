//! QFT: fine-tunes a generator on seed questions without their solutions (paper, section 3.1).

use scalequest_crds::protocol::rows::SftRow;
use scalequest_crds::protocol::task::StageParams;
use scalequest_engine::training::{Example, SftObjective};

use super::StageError;
use super::open_model::open_model;
use super::seed_questions::read_seeds;
use super::shard::{Shard, StageResult, wrong_params};
use super::training_stage::{InitialModel, SideOutput, run_training_stage};
use crate::storage::table::encode_rows;

/// Fine-tunes a generator on questions.
///
/// # Errors
/// The model or a seed file cannot be used, the workspace fails, or the task is cancelled.
pub fn qft(shard: &Shard<'_>) -> Result<StageResult, StageError> {
    let StageParams::Qft {
        model,
        system_prompt,
        seed_questions,
        training,
    } = &shard.task.params
    else {
        return Err(wrong_params(shard));
    };
    let seeds = read_seeds(seed_questions, shard.range.clone())?;
    let checkpoint = open_model(shard, model)?;
    let tokenizer = checkpoint.tokenizer()?;
    let template = checkpoint.chat_template(&tokenizer)?;
    let prefix = template.question_prefix(system_prompt.as_deref())?;
    let prefix_tokens = tokenizer.encode(&prefix.text)?;
    let mut examples = Vec::with_capacity(seeds.len());
    for seed in &seeds {
        let question = tokenizer.encode_plain(seed.question.trim())?;
        examples.push(Example::question(
            &prefix_tokens,
            &question,
            prefix.end_token,
        ));
    }
    let max_length = usize::try_from(training.max_length).unwrap_or(0);
    let objective = || Ok(SftObjective::new(examples.clone(), max_length)?);
    let cut = objective()?.truncated();
    let warnings = (cut > 0).then(|| {
        format!(
            "{cut} of {} seed questions are longer than {max_length} tokens and were cut",
            seeds.len()
        )
    });
    let rows: Vec<_> = seeds
        .into_iter()
        .map(|seed| SftRow {
            id: seed.id,
            question: seed.question,
        })
        .collect();
    let side_output = SideOutput {
        count: rows.len() as i64,
        rows: encode_rows(&rows),
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
