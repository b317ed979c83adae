//! Sample: questions from the fine-tuned generator, to be rewritten for QPO (paper, section 3.2).

use std::ops::Range;

use scalequest_crds::report::Histogram;
use scalequest_crds::row::{QuestionRow, RejectRow};
use scalequest_crds::run::Sampling;
use scalequest_crds::task::StageParams;

use super::StageError;
use super::generate::question_tokens;
use super::question_model::QuestionModel;
use super::run_shard::{Fates, RowStage, run_shard};
use super::shard::{Finished, Shard, wrong_params};

/// Samples one shard of questions.
///
/// # Errors
/// The model does not load, the workspace fails, or a stop was asked for.
pub fn sample(shard: &Shard<'_>) -> Result<Finished, StageError> {
    run_shard::<Sample>(shard)
}

struct Sample {
    model: QuestionModel,
    sampling: Sampling,
}

impl RowStage for Sample {
    /// The question's id.
    type Row = i64;
    type Kept = QuestionRow;

    const ROWS_AT_ONCE: i64 = 256;

    fn start(shard: &Shard<'_>) -> Result<Self, StageError> {
        let StageParams::Sample {
            model,
            system_prompt,
            sampling,
        } = &shard.task.params
        else {
            return Err(wrong_params(shard));
        };
        Ok(Sample {
            model: QuestionModel::load(shard, model, system_prompt.as_deref())?,
            sampling: sampling.clone(),
        })
    }

    fn read(_: &Shard<'_>, rows: Range<i64>) -> Result<Vec<i64>, StageError> {
        Ok(rows.collect())
    }

    fn work(
        &mut self,
        shard: &Shard<'_>,
        ids: &[i64],
        fates: &mut Fates<'_>,
    ) -> Result<(), StageError> {
        self.model.draw(shard, ids, &self.sampling, fates)
    }

    fn body(&self) -> String {
        self.model.body()
    }

    fn histograms(kept: &[&QuestionRow], rejects: &[&RejectRow]) -> Vec<Histogram> {
        question_tokens(kept, rejects)
    }
}
