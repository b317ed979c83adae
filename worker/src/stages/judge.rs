//! Judge: prompts a chat model to reason about each question and decide whether it can be solved (paper, section 3.3). A
//! response without a clear verdict has a reject reason of its own.

use std::ops::Range;

use scalequest_crds::protocol::report::Histogram;
use scalequest_crds::protocol::rows::QuestionRow;
use scalequest_crds::protocol::task::StageParams;
use scalequest_crds::v1alpha1::{Domain, RejectReason};

use super::StageError;
use super::prompt_stage::{PromptSpec, PromptStage, run_prompt_stage};
use super::row_outcome::{RowOutcome, reject};
use super::serving::GeneratedTexts;
use super::shard::{Shard, StageResult};
use crate::prompts::judge::judge_prompt;
use crate::prompts::verdict::{Verdict, parse_verdict};

/// Judges one shard of questions.
///
/// # Errors
/// The model does not load, an input is corrupt, the workspace fails, or the task is cancelled.
pub fn judge(shard: &Shard<'_>) -> Result<StageResult, StageError> {
    run_prompt_stage::<Judge>(shard)
}

struct Judge {
    domain: Domain,
}

impl PromptStage for Judge {
    type Row = QuestionRow;
    type Output = QuestionRow;

    const BATCH_ROWS: i64 = 256;

    fn prompt_spec(params: &StageParams) -> Option<PromptSpec<'_, Self>> {
        let StageParams::Judge {
            model,
            sampling,
            domain,
        } = params
        else {
            return None;
        };
        Some(PromptSpec {
            stage: Judge { domain: *domain },
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

    fn prompt(&self, _: &Shard<'_>, row: &QuestionRow) -> Option<String> {
        Some(judge_prompt(&row.question, self.domain))
    }

    fn outcome(
        &self,
        shard: &Shard<'_>,
        row: &QuestionRow,
        generated: GeneratedTexts,
    ) -> RowOutcome<QuestionRow> {
        let text = generated
            .texts
            .first()
            .map_or("", |generated| generated.text.as_str());
        match parse_verdict(text) {
            Some(Verdict::Yes) => RowOutcome::Accepted(row.clone()),
            Some(Verdict::No) => reject(shard, RejectReason::Unsolvable, row.clone(), text),
            None => reject(shard, RejectReason::NoVerdict, row.clone(), text),
        }
    }

    fn histograms(_: &[&QuestionRow]) -> Vec<Histogram> {
        Vec::new()
    }
}
