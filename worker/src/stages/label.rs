//! Label: measures how often the solver fails on seed questions with known answers: what the difficulty scorer learns from
//! (paper, section 3.3, as in DART-Math). Lines without an answer are passed over.

use std::ops::Range;

use scalequest_crds::protocol::report::Histogram;
use scalequest_crds::protocol::rows::{LabelRow, QuestionRow};
use scalequest_crds::protocol::task::StageParams;
use scalequest_crds::v1alpha1::{AnswerFormat, Domain};

use super::StageError;
use super::ask_rows::{AskStage, Asking, ask_rows};
use super::seeds::{SeedRow, read_seeds};
use super::serving::{Answers, Said};
use super::shard::{Fate, Finished, Shard, wrong_params};
use crate::answers::{final_answer, reference_answer, same_answer};
use crate::prompts::responding::responding;

/// Labels one shard of seed questions.
///
/// # Errors
/// The model does not load, a seed file cannot be read, the workspace fails, or a stop was asked for.
pub fn label(shard: &Shard<'_>) -> Result<Finished, StageError> {
    ask_rows::<Label>(shard)
}

struct Label {
    samples: i32,
    format: AnswerFormat,
    domain: Domain,
}

impl AskStage for Label {
    type Row = SeedRow;
    type Kept = LabelRow;

    const ROWS_AT_ONCE: i64 = 128;

    fn asking(params: &StageParams) -> Option<Asking<'_, Self>> {
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
        Some(Asking {
            stage,
            model,
            samples: *samples,
            sampling,
        })
    }

    fn read(shard: &Shard<'_>, rows: Range<i64>) -> Result<Vec<SeedRow>, StageError> {
        let StageParams::Label { seed_questions, .. } = &shard.task.params else {
            return Err(wrong_params(shard));
        };
        read_seeds(seed_questions, rows)
    }

    fn question(row: &SeedRow) -> QuestionRow {
        QuestionRow {
            id: row.id,
            generator: String::new(),
            wave: 0,
            question: row.question.clone(),
            question_tokens: 0,
            difficulty: None,
        }
    }

    fn prompt(&self, _: &Shard<'_>, row: &SeedRow) -> Option<String> {
        self.reference(row)?;
        Some(responding(&row.question, self.domain, self.format))
    }

    fn fate(&self, _: &Shard<'_>, row: &SeedRow, answers: Answers) -> Fate<LabelRow> {
        let reference = self.reference(row).unwrap_or_default();
        let is_wrong = |said: &&Said| {
            let answer = final_answer(&said.text, self.format).unwrap_or_default();
            !same_answer(&answer, &reference)
        };
        let wrong = answers.texts.iter().filter(is_wrong).count();
        Fate::Kept(LabelRow {
            id: row.id,
            question: row.question.clone(),
            fail_rate: wrong as f64 / answers.texts.len().max(1) as f64,
            samples: self.samples,
        })
    }

    fn histograms(kept: &[&LabelRow]) -> Vec<Histogram> {
        let mut rates = Histogram::new("failRate", 0.0, 1.0, 20);
        kept.iter().for_each(|row| rates.record(row.fail_rate));
        vec![rates]
    }
}

impl Label {
    /// The final answer of a seed question that has one.
    fn reference(&self, row: &SeedRow) -> Option<String> {
        reference_answer(row.answer.as_deref()?, self.format)
    }
}
