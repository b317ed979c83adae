//! Sample and Generate: sample questions from a generator. Both have the same parameters, except for the first id, which Sample
//! starts at 0.

use std::ops::Range;

use scalequest_crds::protocol::report::Histogram;
use scalequest_crds::protocol::rows::{QuestionRow, RejectRow};
use scalequest_crds::protocol::task::StageParams;
use scalequest_crds::v1alpha1::Sampling;

use super::StageError;
use super::question_generator::QuestionGenerator;
use super::row_stage::{RowSink, RowStage, run_row_stage};
use super::shard::{Shard, StageResult, wrong_params};

/// Samples one shard of questions.
///
/// # Errors
/// The model does not load, the workspace fails, or the task is cancelled.
pub fn sample_questions(shard: &Shard<'_>) -> Result<StageResult, StageError> {
    run_row_stage::<SampleQuestions>(shard)
}

struct SampleQuestions {
    model: QuestionGenerator,
    sampling: Sampling,
}

impl RowStage for SampleQuestions {
    /// The question's id.
    type Row = i64;
    type Output = QuestionRow;

    const BATCH_ROWS: i64 = 256;

    fn start(shard: &Shard<'_>, _: &[Self::Row]) -> Result<Self, StageError> {
        let (model, system_prompt, sampling) = match &shard.task.params {
            StageParams::Sample {
                model,
                system_prompt,
                sampling,
            }
            | StageParams::Generate {
                model,
                system_prompt,
                sampling,
                ..
            } => (model, system_prompt, sampling),
            _ => return Err(wrong_params(shard)),
        };
        Ok(SampleQuestions {
            model: QuestionGenerator::load(shard, model, system_prompt.as_deref())?,
            sampling: sampling.clone(),
        })
    }

    fn read(shard: &Shard<'_>, rows: Range<i64>) -> Result<Vec<i64>, StageError> {
        let first_id = match &shard.task.params {
            StageParams::Generate { first_id, .. } => *first_id,
            _ => 0,
        };
        Ok(rows.map(|row| first_id + row).collect())
    }

    fn process(
        &mut self,
        shard: &Shard<'_>,
        ids: &[i64],
        sink: &mut RowSink<'_>,
    ) -> Result<(), StageError> {
        self.model.generate(shard, ids, &self.sampling, sink)
    }

    fn compute_backend(&self) -> Option<String> {
        Some(self.model.compute_backend())
    }

    /// Returns the lengths of all questions, rejected ones included.
    fn histograms(accepted: &[&QuestionRow], rejects: &[&RejectRow]) -> Vec<Histogram> {
        let mut tokens = Histogram::new("questionTokens", 0.0, 512.0, 16);
        let rejected = rejects.iter().map(|row| row.question.question_tokens);
        accepted
            .iter()
            .map(|row| row.question_tokens)
            .chain(rejected)
            .for_each(|count| tokens.record(count.into()));
        vec![tokens]
    }
}
