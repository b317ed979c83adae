//! Rewrite: rewrites each sampled question in one random direction, keyed by its id (paper, section 3.2). The rewrite is the
//! chosen, the original the rejected member of a preference pair.

use std::ops::Range;

use scalequest_crds::protocol::report::Histogram;
use scalequest_crds::protocol::rows::{Direction, PreferenceRow, QuestionRow};
use scalequest_crds::protocol::task::StageParams;
use scalequest_crds::v1alpha1::{Domain, RejectReason};

use super::StageError;
use super::draw_keys::REWRITE_DIRECTION;
use super::prompt_stage::{PromptSpec, PromptStage, run_prompt_stage};
use super::row_outcome::{RowOutcome, reject};
use super::serving::{GeneratedTexts, keyed_rng};
use super::shard::{Shard, StageResult};
use crate::prompts::rewrite::{parse_rewrite, rewrite_prompt};

/// Rewrites one shard of sampled questions.
///
/// # Errors
/// The model does not load, an input is corrupt, the workspace fails, or the task is cancelled.
pub fn rewrite(shard: &Shard<'_>) -> Result<StageResult, StageError> {
    run_prompt_stage::<Rewrite>(shard)
}

struct Rewrite {
    domain: Domain,
}

impl PromptStage for Rewrite {
    type Row = QuestionRow;
    type Output = PreferenceRow;

    const BATCH_ROWS: i64 = 256;

    fn prompt_spec(params: &StageParams) -> Option<PromptSpec<'_, Self>> {
        let StageParams::Rewrite {
            model,
            sampling,
            domain,
        } = params
        else {
            return None;
        };
        Some(PromptSpec {
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
        Some(rewrite_prompt(&row.question, direction, self.domain))
    }

    /// Accepts a preference pair if the generated text is a rewrite.
    fn outcome(
        &self,
        shard: &Shard<'_>,
        row: &QuestionRow,
        generated: GeneratedTexts,
    ) -> RowOutcome<PreferenceRow> {
        let (direction, first) = (direction(shard, row), generated.texts.first());
        let rewritten = match first {
            Some(text) if text.finished => parse_rewrite(&text.text, &row.question),
            _ => Err("the rewrite was cut at the token limit"),
        };
        match rewritten {
            Ok(chosen) => RowOutcome::Accepted(PreferenceRow {
                id: row.id,
                generator: row.generator.clone(),
                direction,
                chosen,
                rejected: row.question.clone(),
            }),
            Err(problem) => {
                let text = first.map_or("", |text| text.text.as_str());
                let detail = format!("{problem} ({direction:?}): {text}");
                reject(shard, RejectReason::BadRewrite, row.clone(), &detail)
            }
        }
    }

    fn histograms(_: &[&PreferenceRow]) -> Vec<Histogram> {
        Vec::new()
    }
}

/// Returns one of the two directions, each with probability 1/2, keyed by the question's id.
fn direction(shard: &Shard<'_>, row: &QuestionRow) -> Direction {
    match keyed_rng(shard, Some(REWRITE_DIRECTION)).bits(row.id as u64, 0) >> 63 {
        0 => Direction::Solvability,
        _ => Direction::Difficulty,
    }
}
