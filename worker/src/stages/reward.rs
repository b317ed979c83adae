//! Reward: scores every response with a reward model: one with a scalar head, or a chat model that is prompted to verify the
//! solution (the probability of Yes against No).

use std::ops::Range;

use scalequest_crds::protocol::report::Histogram;
use scalequest_crds::protocol::rows::{AnsweredRow, RejectRow};
use scalequest_crds::protocol::task::StageParams;
use scalequest_crds::v1alpha1::Domain;

use super::StageError;
use super::row_outcome::RowOutcome;
use super::row_stage::{RowSink, RowStage, run_row_stage};
use super::serving::{RewardModel, Scorable, SequenceScore};
use super::shard::{Shard, StageResult, wrong_params};

/// Scores one shard of answered questions.
///
/// # Errors
/// The model does not load, an input is corrupt, the workspace fails, or the task is cancelled.
pub fn reward(shard: &Shard<'_>) -> Result<StageResult, StageError> {
    run_row_stage::<Reward>(shard)
}

struct Reward {
    model: RewardModel,
    domain: Domain,
}

impl RowStage for Reward {
    type Row = AnsweredRow;
    type Output = AnsweredRow;

    const BATCH_ROWS: i64 = 16;

    fn start(shard: &Shard<'_>, _: &[Self::Row]) -> Result<Self, StageError> {
        let StageParams::Reward {
            model,
            domain,
            pooled,
        } = &shard.task.params
        else {
            return Err(wrong_params(shard));
        };
        Ok(Reward {
            model: RewardModel::load(shard, model, *pooled)?,
            domain: *domain,
        })
    }

    fn read(shard: &Shard<'_>, rows: Range<i64>) -> Result<Vec<AnsweredRow>, StageError> {
        shard.read_input(0, "rows", rows)
    }

    /// A response that does not fit the model's context, or whose score is not finite, has no reward; its question is not
    /// rejected for that.
    fn process(
        &mut self,
        shard: &Shard<'_>,
        rows: &[AnsweredRow],
        sink: &mut RowSink<'_>,
    ) -> Result<(), StageError> {
        let pairs: Vec<Scorable<'_>> = rows
            .iter()
            .flat_map(|row| {
                row.responses.iter().map(|response| Scorable {
                    key: (row.question.id, response.index),
                    question: &row.question.question,
                    response: &response.text,
                })
            })
            .collect();
        let mut scores = self.model.score(shard, &pairs, self.domain)?.into_iter();
        for row in rows {
            let (mut row, mut tokens_in) = (row.clone(), 0);
            for (response, SequenceScore { value, tokens }) in
                row.responses.iter_mut().zip(&mut scores)
            {
                response.reward = value.filter(|value| value.is_finite());
                tokens_in += tokens;
            }
            sink.push(&RowOutcome::Accepted(row), tokens_in, 0);
        }
        Ok(())
    }

    fn compute_backend(&self) -> Option<String> {
        Some(self.model.compute_backend())
    }

    fn histograms(accepted: &[&AnsweredRow], _: &[&RejectRow]) -> Vec<Histogram> {
        let rewards = || {
            accepted
                .iter()
                .flat_map(|row| &row.responses)
                .filter_map(|response| response.reward)
        };
        // A verifier's probability lies in 0..=1; a scalar head is unbounded, so its histogram has wide, fixed borders.
        let (low, high) = if rewards().all(|reward| (0.0..=1.0).contains(&reward)) {
            (0.0, 1.0)
        } else {
            (-10.0, 10.0)
        };
        let mut histogram = Histogram::new("reward", low, high, 20);
        rewards().for_each(|reward| histogram.record(reward));
        vec![histogram]
    }
}
