//! Generate: new questions from a trained generator, drawn after the bare question prefix of its chat template (paper,
//! section 3.1).

use std::ops::Range;

use scalequest_crds::report::Histogram;
use scalequest_crds::row::{QuestionRow, RejectRow};
use scalequest_crds::run::Sampling;
use scalequest_crds::task::StageParams;

use super::StageError;
use super::question_model::QuestionModel;
use super::run_shard::{Fates, RowStage, run_shard};
use super::shard::{Finished, Shard, wrong_params};

/// Makes one shard of questions.
///
/// # Errors
/// The model does not load, the workspace fails, or a stop was asked for.
pub fn generate(shard: &Shard<'_>) -> Result<Finished, StageError> {
    run_shard::<Generate>(shard)
}

struct Generate {
    model: QuestionModel,
    sampling: Sampling,
}

impl RowStage for Generate {
    /// The question's id.
    type Row = i64;
    type Kept = QuestionRow;

    const ROWS_AT_ONCE: i64 = 256;

    fn start(shard: &Shard<'_>) -> Result<Self, StageError> {
        let StageParams::Generate {
            model,
            system_prompt,
            sampling,
            ..
        } = &shard.task.params
        else {
            return Err(wrong_params(shard));
        };
        Ok(Generate {
            model: QuestionModel::load(shard, model, system_prompt.as_deref())?,
            sampling: sampling.clone(),
        })
    }

    fn read(shard: &Shard<'_>, rows: Range<i64>) -> Result<Vec<i64>, StageError> {
        let StageParams::Generate { first_id, .. } = &shard.task.params else {
            return Err(wrong_params(shard));
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

    fn body(&self) -> String {
        self.model.body()
    }

    fn histograms(kept: &[&QuestionRow], rejects: &[&RejectRow]) -> Vec<Histogram> {
        question_tokens(kept, rejects)
    }
}

/// Lengths of the questions drawn, dropped ones included.
pub(super) fn question_tokens(kept: &[&QuestionRow], rejects: &[&RejectRow]) -> Vec<Histogram> {
    let mut tokens = Histogram::new("questionTokens", 0.0, 512.0, 16);
    let rejected = rejects.iter().map(|row| row.question.question_tokens);
    kept.iter()
        .map(|row| row.question_tokens)
        .chain(rejected)
        .for_each(|count| tokens.record(count.into()));
    vec![tokens]
}
