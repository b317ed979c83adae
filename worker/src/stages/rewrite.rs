//! Rewrite: each sampled question is rewritten in one direction, drawn at random by its id (paper, section 3.2). The rewrite is
//! the chosen, the original the rejected member of a preference pair.

use std::ops::Range;

use scalequest_crds::protocol::report::Histogram;
use scalequest_crds::protocol::rows::{Direction, PreferenceRow, QuestionRow};
use scalequest_crds::protocol::task::StageParams;
use scalequest_crds::v1alpha1::{Domain, RejectReason};

use super::StageError;
use super::ask_rows::{AskStage, Asking, ask_rows};
use super::serving::{Answers, draws};
use super::shard::{Fate, Finished, Shard, reject};
use crate::prompts::rewriting::{read_rewrite, rewriting};

/// Rewrites one shard of sampled questions.
///
/// # Errors
/// The model does not load, an input is damaged, the workspace fails, or a stop was asked for.
pub fn rewrite(shard: &Shard<'_>) -> Result<Finished, StageError> {
    ask_rows::<Rewrite>(shard)
}

struct Rewrite {
    domain: Domain,
}

impl AskStage for Rewrite {
    type Row = QuestionRow;
    type Kept = PreferenceRow;

    const ROWS_AT_ONCE: i64 = 256;

    fn asking(params: &StageParams) -> Option<Asking<'_, Self>> {
        let StageParams::Rewrite {
            model,
            sampling,
            domain,
        } = params
        else {
            return None;
        };
        Some(Asking {
            stage: Rewrite { domain: *domain },
            model,
            samples: 1,
            sampling,
        })
    }

    fn read(shard: &Shard<'_>, rows: Range<i64>) -> Result<Vec<QuestionRow>, StageError> {
        shard.read_input(0, "rows", rows)
    }

    fn question(row: &QuestionRow) -> QuestionRow {
        row.clone()
    }

    fn prompt(&self, shard: &Shard<'_>, row: &QuestionRow) -> Option<String> {
        let direction = direction(shard, row);
        Some(rewriting(&row.question, direction, self.domain))
    }

    /// A pair, if what the rewriter said is a rewrite.
    fn fate(&self, shard: &Shard<'_>, row: &QuestionRow, answers: Answers) -> Fate<PreferenceRow> {
        let (direction, said) = (direction(shard, row), answers.texts.first());
        let rewritten = match said {
            Some(said) if said.finished => read_rewrite(&said.text, &row.question),
            _ => Err("the rewrite was cut at the token limit"),
        };
        match rewritten {
            Ok(chosen) => Fate::Kept(PreferenceRow {
                id: row.id,
                generator: row.generator.clone(),
                direction,
                chosen,
                rejected: row.question.clone(),
            }),
            Err(why) => {
                let text = said.map_or("", |said| said.text.as_str());
                let detail = format!("{why} ({direction:?}): {text}");
                reject(shard, RejectReason::BadRewrite, row.clone(), &detail)
            }
        }
    }

    fn histograms(_: &[&PreferenceRow]) -> Vec<Histogram> {
        Vec::new()
    }
}

/// One of the two directions, each with probability 1/2, drawn by the question's id.
fn direction(shard: &Shard<'_>, row: &QuestionRow) -> Direction {
    match draws(shard, "direction").bits(row.id as u64, 0) >> 63 {
        0 => Direction::Solvability,
        _ => Direction::Difficulty,
    }
}
