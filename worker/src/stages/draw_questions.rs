//! The shape of the two stages that draw questions, Sample and Generate: what they draw with is in both their parameters, and
//! only Generate's ids begin elsewhere than at 0.

use std::ops::Range;

use scalequest_crds::protocol::report::Histogram;
use scalequest_crds::protocol::rows::{QuestionRow, RejectRow};
use scalequest_crds::protocol::task::StageParams;
use scalequest_crds::v1alpha1::Sampling;

use super::StageError;
use super::question_model::QuestionModel;
use super::run_shard::{Fates, RowStage, run_shard};
use super::shard::{Finished, Shard, wrong_params};

/// Draws one shard of questions.
///
/// # Errors
/// The model does not load, the workspace fails, or a stop was asked for.
pub fn draw_questions(shard: &Shard<'_>) -> Result<Finished, StageError> {
    run_shard::<DrawQuestions>(shard)
}

struct DrawQuestions {
    model: QuestionModel,
    sampling: Sampling,
}

impl RowStage for DrawQuestions {
    /// The question's id.
    type Row = i64;
    type Kept = QuestionRow;

    const ROWS_AT_ONCE: i64 = 256;

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
        Ok(DrawQuestions {
            model: QuestionModel::load(shard, model, system_prompt.as_deref())?,
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

    fn work(
        &mut self,
        shard: &Shard<'_>,
        ids: &[i64],
        fates: &mut Fates<'_>,
    ) -> Result<(), StageError> {
        self.model.draw(shard, ids, &self.sampling, fates)
    }

    fn body(&self) -> Option<String> {
        Some(self.model.body())
    }

    /// Lengths of the questions drawn, dropped ones included.
    fn histograms(kept: &[&QuestionRow], rejects: &[&RejectRow]) -> Vec<Histogram> {
        let mut tokens = Histogram::new("questionTokens", 0.0, 512.0, 16);
        let rejected = rejects.iter().map(|row| row.question.question_tokens);
        kept.iter()
            .map(|row| row.question_tokens)
            .chain(rejected)
            .for_each(|count| tokens.record(count.into()));
        vec![tokens]
    }
}
