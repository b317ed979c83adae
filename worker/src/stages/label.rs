//! Label: measures how often the solver fails on seed questions with known answers, as training data of the difficulty scorer
//! (paper, section 3.3, as in DART-Math). Skips questions without an answer.

use std::ops::Range;

use scalequest_crds::protocol::report::Histogram;
use scalequest_crds::protocol::rows::{LabelRow, QuestionRow};
use scalequest_crds::protocol::task::StageParams;
use scalequest_crds::v1alpha1::{AnswerFormat, Domain};

use super::StageError;
use super::prompt_stage::{PromptSpec, PromptStage, run_prompt_stage};
use super::row_outcome::RowOutcome;
use super::seed_questions::{SeedQuestion, read_seeds};
use super::serving::{GeneratedText, GeneratedTexts};
use super::shard::{Shard, StageResult, wrong_params};
use crate::answers::{final_answer, reference_answer, same_answer};
use crate::prompts::response::response_prompt;

/// Labels one shard of seed questions.
///
/// # Errors
/// The model does not load, a seed file cannot be read, the workspace fails, or the task is cancelled.
pub fn label(shard: &Shard<'_>) -> Result<StageResult, StageError> {
    run_prompt_stage::<Label>(shard)
}

struct Label {
    samples: i32,
    format: AnswerFormat,
    domain: Domain,
}

impl PromptStage for Label {
    type Row = SeedQuestion;
    type Output = LabelRow;

    const BATCH_ROWS: i64 = 128;

    fn prompt_spec(params: &StageParams) -> Option<PromptSpec<'_, Self>> {
        let StageParams::Label {
            model,
            samples,
            sampling,
            answer_format,
            domain,
            ..
        } = params
        else {
            return None;
        };
        let stage = Label {
            samples: *samples,
            format: *answer_format,
            domain: *domain,
        };
        Some(PromptSpec {
            stage,
            model,
            samples: *samples,
            sampling,
        })
    }

    fn read(shard: &Shard<'_>, rows: Range<i64>) -> Result<Vec<SeedQuestion>, StageError> {
        let StageParams::Label { seed_questions, .. } = &shard.task.params else {
            return Err(wrong_params(shard));
        };
        read_seeds(seed_questions, rows)
    }

    fn question(row: &SeedQuestion) -> QuestionRow {
        QuestionRow {
            id: row.id,
            generator: String::new(),
            wave: 0,
            question: row.question.clone(),
            question_tokens: 0,
            difficulty: None,
        }
    }

    fn prompt(&self, _: &Shard<'_>, row: &SeedQuestion) -> Option<String> {
        self.reference(row)?;
        Some(response_prompt(&row.question, self.domain, self.format))
    }

    fn outcome(
        &self,
        _: &Shard<'_>,
        row: &SeedQuestion,
        generated: GeneratedTexts,
    ) -> RowOutcome<LabelRow> {
        let reference = self.reference(row).unwrap_or_default();
        let is_wrong = |response: &&GeneratedText| {
            let answer = final_answer(&response.text, self.format).unwrap_or_default();
            !same_answer(&answer, &reference)
        };
        let wrong = generated.texts.iter().filter(is_wrong).count();
        RowOutcome::Accepted(LabelRow {
            id: row.id,
            question: row.question.clone(),
            fail_rate: wrong as f64 / generated.texts.len().max(1) as f64,
            samples: self.samples,
        })
    }

    fn histograms(accepted: &[&LabelRow]) -> Vec<Histogram> {
        let mut rates = Histogram::new("failRate", 0.0, 1.0, 20);
        accepted.iter().for_each(|row| rates.record(row.fail_rate));
        vec![rates]
    }
}

impl Label {
    /// Returns the final answer of a seed question that has one.
    fn reference(&self, row: &SeedQuestion) -> Option<String> {
        reference_answer(row.answer.as_deref()?, self.format)
    }
}
