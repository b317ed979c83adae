//! Rewrite: each sampled question is rewritten in one direction, drawn at random by its id (paper, section 3.2). The rewrite is
//! the chosen, the original the rejected member of a preference pair.

use std::ops::Range;

use scalequest_crds::report::Histogram;
use scalequest_crds::row::{Direction, PreferenceRow, QuestionRow, Reason, RejectRow};
use scalequest_crds::run::{Domain, Sampling};
use scalequest_crds::task::StageParams;

use super::StageError;
use super::run_shard::{Fates, RowStage, run_shard};
use super::serving::{Asked, ChatModel, Prompt, Said, draws};
use super::shard::{Fate, Finished, Shard, reject, wrong_params};
use crate::prompts::rewriting::{read_rewrite, rewriting};

/// Rewrites one shard of sampled questions.
///
/// # Errors
/// The model does not load, an input is damaged, the workspace fails, or a stop was asked for.
pub fn rewrite(shard: &Shard<'_>) -> Result<Finished, StageError> {
    run_shard::<Rewrite>(shard)
}

struct Rewrite {
    model: ChatModel,
    sampling: Sampling,
    domain: Domain,
}

impl RowStage for Rewrite {
    type Row = QuestionRow;
    type Kept = PreferenceRow;

    const ROWS_AT_ONCE: i64 = 256;

    fn start(shard: &Shard<'_>) -> Result<Self, StageError> {
        let StageParams::Rewrite {
            model,
            sampling,
            domain,
        } = &shard.task.params
        else {
            return Err(wrong_params(shard));
        };
        Ok(Rewrite {
            model: ChatModel::load(shard, model)?,
            sampling: sampling.clone(),
            domain: *domain,
        })
    }

    fn read(shard: &Shard<'_>, rows: Range<i64>) -> Result<Vec<QuestionRow>, StageError> {
        shard.read_input(0, "rows", rows)
    }

    fn work(
        &mut self,
        shard: &Shard<'_>,
        rows: &[QuestionRow],
        fates: &mut Fates<'_>,
    ) -> Result<(), StageError> {
        let directions: Vec<_> = rows.iter().map(|row| direction(shard, row)).collect();
        let prompt = |(row, direction): (&QuestionRow, &Direction)| {
            Prompt::new(row.id, rewriting(&row.question, *direction, self.domain))
        };
        let prompts: Vec<_> = rows.iter().zip(&directions).map(prompt).collect();
        self.model
            .ask(shard, &prompts, 1, &self.sampling, &mut |place, asked| {
                let (row, direction) = (rows[place].clone(), directions[place]);
                match asked {
                    Asked::TooLong(said) => fates.push(
                        &reject::<PreferenceRow>(shard, Reason::PromptTooLong, row, &said),
                        0,
                        0,
                    ),
                    Asked::Said(answers) => {
                        fates.push(
                            &fate(shard, row, direction, answers.texts.first()),
                            answers.prompt_tokens,
                            answers.new_tokens(),
                        );
                    }
                }
            })
    }

    fn body(&self) -> String {
        self.model.body()
    }

    fn histograms(_: &[&PreferenceRow], _: &[&RejectRow]) -> Vec<Histogram> {
        Vec::new()
    }
}

/// A pair, if what the rewriter said is a rewrite.
fn fate(
    shard: &Shard<'_>,
    row: QuestionRow,
    direction: Direction,
    said: Option<&Said>,
) -> Fate<PreferenceRow> {
    let rewritten = match said {
        Some(said) if said.finished => read_rewrite(&said.text, &row.question),
        _ => Err("the rewrite was cut at the token limit"),
    };
    match rewritten {
        Ok(chosen) => {
            let QuestionRow {
                id,
                generator,
                question: rejected,
                ..
            } = row;
            Fate::Kept(PreferenceRow {
                id,
                generator,
                direction,
                chosen,
                rejected,
            })
        }
        Err(why) => {
            let text = said.map_or("", |said| said.text.as_str());
            reject(
                shard,
                Reason::BadRewrite,
                row,
                &format!("{why} ({direction:?}): {text}"),
            )
        }
    }
}

/// One of the two directions, each with probability 1/2, drawn by the question's id.
fn direction(shard: &Shard<'_>, row: &QuestionRow) -> Direction {
    match draws(shard, "direction").bits(row.id as u64, 0) >> 63 {
        0 => Direction::Solvability,
        _ => Direction::Difficulty,
    }
}
