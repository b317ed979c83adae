//! A trained difficulty scorer.

use scalequest_crds::protocol::task::ModelUse;

use super::{EngineModel, SequenceScore, report_progress};
use crate::stages::StageError;
use crate::stages::scorer_input::encode_question;
use crate::stages::shard::Shard;

/// A trained difficulty scorer.
pub struct DifficultyModel {
    model: EngineModel,
}

impl DifficultyModel {
    /// Loads a scorer.
    ///
    /// # Errors
    /// As [`EngineModel::load`], or the model has no scalar head.
    pub fn load(shard: &Shard<'_>, model: &ModelUse) -> Result<Self, StageError> {
        let loaded = EngineModel::load(shard, model)?;
        match loaded.engine.config().head.is_scalar() {
            true => Ok(DifficultyModel { model: loaded }),
            false => Err(StageError::Permanent(format!(
                "model `{}` has no scalar head (`score.weight` with one row)",
                model.name
            ))),
        }
    }

    /// Predicts the fail rate of every question.
    ///
    /// # Errors
    /// The model's values are not finite, or the task is cancelled.
    pub fn predict(
        &self,
        shard: &Shard<'_>,
        questions: &[&str],
    ) -> Result<Vec<SequenceScore>, StageError> {
        let sequences = questions
            .iter()
            .map(|question| encode_question(&self.model.tokenizer, question))
            .collect::<Result<_, _>>()?;
        let base = shard.progress_base.get();
        self.model.score_sequences(sequences, |scorer, sequences| {
            let values = scorer.scores(sequences, &mut |progress| {
                report_progress(shard, base, progress, 1)
            })?;
            Ok(values.into_iter().map(f64::from).collect())
        })
    }

    /// Returns the name of the compute backend.
    pub fn compute_backend(&self) -> String {
        self.model.compute_backend()
    }
}
