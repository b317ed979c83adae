//! A trained difficulty scorer.

use scalequest_crds::protocol::task::ModelUse;

use super::{Scored, Serving, watch};
use crate::stages::StageError;
use crate::stages::difficulty_tokens::difficulty_tokens;
use crate::stages::shard::Shard;

/// A trained difficulty scorer.
pub struct DifficultyModel {
    serving: Serving,
}

impl DifficultyModel {
    /// Loads a scorer.
    ///
    /// # Errors
    /// As [`Serving::load`]; it has no scalar head.
    pub fn load(shard: &Shard<'_>, model: &ModelUse) -> Result<Self, StageError> {
        let serving = Serving::load(shard, model)?;
        match serving.engine.config().head.is_scalar() {
            true => Ok(DifficultyModel { serving }),
            false => Err(StageError::Task(format!(
                "model `{}` has no scalar head (`score.weight` with one row)",
                model.name
            ))),
        }
    }

    /// Predicts the fail rate of every question.
    ///
    /// # Errors
    /// The model's values are not finite, or a stop was asked for.
    pub fn rate(&self, shard: &Shard<'_>, questions: &[&str]) -> Result<Vec<Scored>, StageError> {
        let sequences = questions
            .iter()
            .map(|question| difficulty_tokens(&self.serving.tokenizer, question))
            .collect::<Result<_, _>>()?;
        let base = shard.base.get();
        self.serving.scored(sequences, |scorer, sequences| {
            let values =
                scorer.scores(sequences, &mut |progress| watch(shard, base, progress, 1))?;
            Ok(values.into_iter().map(f64::from).collect())
        })
    }

    /// The arithmetic body.
    pub fn body(&self) -> String {
        self.serving.body()
    }
}
