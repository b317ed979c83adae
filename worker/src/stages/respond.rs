//! Respond: generates several responses to each question, each sampled independently (paper, section 3.4: five).

use std::ops::Range;

use scalequest_crds::protocol::report::Histogram;
use scalequest_crds::protocol::rows::{AnsweredRow, QuestionRow, ResponseRow};
use scalequest_crds::protocol::task::StageParams;
use scalequest_crds::v1alpha1::{AnswerFormat, Domain};

use super::StageError;
use super::prompt_stage::{PromptSpec, PromptStage, run_prompt_stage};
use super::row_outcome::RowOutcome;
use super::serving::{GeneratedText, GeneratedTexts};
use super::shard::{Shard, StageResult};
use crate::answers::final_answer;
use crate::prompts::response::response_prompt;

/// Responds to one shard of questions.
///
/// # Errors
/// The model does not load, an input is corrupt, the workspace fails, or the task is cancelled.
pub fn respond(shard: &Shard<'_>) -> Result<StageResult, StageError> {
    run_prompt_stage::<Respond>(shard)
}

struct Respond {
    format: AnswerFormat,
    domain: Domain,
}

impl PromptStage for Respond {
    type Row = QuestionRow;
    type Output = AnsweredRow;

    const BATCH_ROWS: i64 = 128;

    fn prompt_spec(params: &StageParams) -> Option<PromptSpec<'_, Self>> {
        let StageParams::Respond {
            model,
            samples,
            sampling,
            answer_format,
            domain,
        } = params
        else {
            return None;
        };
        let (format, domain) = (*answer_format, *domain);
        Some(PromptSpec {
            stage: Respond { format, domain },
            model,
            samples: *samples,
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
        Some(response_prompt(&row.question, self.domain, self.format))
    }

    fn outcome(
        &self,
        _: &Shard<'_>,
        row: &QuestionRow,
        generated: GeneratedTexts,
    ) -> RowOutcome<AnsweredRow> {
        let texts = generated.texts.into_iter().zip(0..);
        RowOutcome::Accepted(AnsweredRow {
            question: row.clone(),
            responses: texts
                .map(|(text, index)| self.response(text, index))
                .collect(),
        })
    }

    fn histograms(accepted: &[&AnsweredRow]) -> Vec<Histogram> {
        let mut tokens = Histogram::new("responseTokens", 0.0, 2048.0, 16);
        accepted
            .iter()
            .flat_map(|row| &row.responses)
            .for_each(|response| tokens.record(response.tokens.into()));
        vec![tokens]
    }
}

impl Respond {
    fn response(&self, generated: GeneratedText, index: i32) -> ResponseRow {
        let final_answer = final_answer(&generated.text, self.format);
        ResponseRow {
            index,
            text: generated.text,
            tokens: generated.tokens,
            finished: generated.finished,
            final_answer,
            reward: None,
        }
    }
}
