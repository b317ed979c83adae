//! Reward: scores every response, by a model with a scalar head or by a chat model that is asked whether the solution is
//! correct (the probability of Yes against No).

use std::ops::Range;

use scalequest_crds::protocol::report::Histogram;
use scalequest_crds::protocol::rows::{AnsweredRow, RejectRow};
use scalequest_crds::protocol::task::StageParams;
use scalequest_crds::v1alpha1::Domain;

use super::StageError;
use super::run_shard::{Fates, RowStage, run_shard};
use super::serving::{RewardModel, Scorable, Scored};
use super::shard::{Fate, Finished, Shard, wrong_params};

/// Scores one shard of answered questions.
///
/// # Errors
/// The model does not load, an input is damaged, the workspace fails, or a stop was asked for.
pub fn reward(shard: &Shard<'_>) -> Result<Finished, StageError> {
    run_shard::<Reward>(shard)
}

struct Reward {
    model: RewardModel,
    domain: Domain,
}

impl RowStage for Reward {
    type Row = AnsweredRow;
    type Kept = AnsweredRow;

    const ROWS_AT_ONCE: i64 = 16;

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

    /// A response that does not fit the model's context, or whose score is not a number, stays without a reward; the question
    /// is not dropped for it.
    fn work(
        &mut self,
        shard: &Shard<'_>,
        rows: &[AnsweredRow],
        fates: &mut Fates<'_>,
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
            let (mut row, mut read) = (row.clone(), 0);
            for (response, Scored { value, tokens }) in row.responses.iter_mut().zip(&mut scores) {
                response.reward = value.filter(|value| value.is_finite());
                read += tokens;
            }
            fates.push(&Fate::Kept(row), read, 0);
        }
        Ok(())
    }

    fn body(&self) -> Option<String> {
        Some(self.model.body())
    }

    fn histograms(kept: &[&AnsweredRow], _: &[&RejectRow]) -> Vec<Histogram> {
        let rewards = || {
            kept.iter()
                .flat_map(|row| &row.responses)
                .filter_map(|response| response.reward)
        };
        // A verifier's probability lies in 0..=1; a scalar head has no range, so its own borders are fixed far out.
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
