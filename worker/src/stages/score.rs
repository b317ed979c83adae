//! Score: predicts each question's fail rate with the trained scorer, and rejects questions that are too easy if the run asks
//! for it (paper, section 3.3).

use std::ops::Range;

use scalequest_crds::protocol::report::Histogram;
use scalequest_crds::protocol::rows::{QuestionRow, RejectRow};
use scalequest_crds::protocol::task::StageParams;
use scalequest_crds::v1alpha1::RejectReason;

use super::StageError;
use super::row_outcome::{RowOutcome, reject};
use super::row_stage::{RowSink, RowStage, run_row_stage};
use super::serving::{DifficultyModel, SequenceScore};
use super::shard::{Shard, StageResult, wrong_params};

/// Scores one shard of questions.
///
/// # Errors
/// The scorer does not load, an input is corrupt, the workspace fails, or the task is cancelled.
pub fn score(shard: &Shard<'_>) -> Result<StageResult, StageError> {
    run_row_stage::<Score>(shard)
}

struct Score {
    model: DifficultyModel,
    minimum: f64,
    generators: Vec<String>,
}

impl RowStage for Score {
    type Row = QuestionRow;
    type Output = QuestionRow;

    const BATCH_ROWS: i64 = 64;

    fn start(shard: &Shard<'_>, _: &[Self::Row]) -> Result<Self, StageError> {
        let StageParams::Score {
            model,
            minimum,
            generators,
        } = &shard.task.params
        else {
            return Err(wrong_params(shard));
        };
        Ok(Score {
            model: DifficultyModel::load(shard, model)?,
            minimum: *minimum,
            generators: generators.clone(),
        })
    }

    fn read(shard: &Shard<'_>, rows: Range<i64>) -> Result<Vec<QuestionRow>, StageError> {
        shard.read_input(0, "rows", rows)
    }

    fn process(
        &mut self,
        shard: &Shard<'_>,
        rows: &[QuestionRow],
        sink: &mut RowSink<'_>,
    ) -> Result<(), StageError> {
        let questions: Vec<&str> = rows.iter().map(|row| row.question.as_str()).collect();
        let scores = self.model.predict(shard, &questions)?;
        for (row, SequenceScore { value, tokens }) in rows.iter().zip(scores) {
            sink.push(&self.outcome(shard, row.clone(), value, tokens), tokens, 0);
        }
        Ok(())
    }

    fn compute_backend(&self) -> Option<String> {
        Some(self.model.compute_backend())
    }

    fn histograms(accepted: &[&QuestionRow], rejects: &[&RejectRow]) -> Vec<Histogram> {
        let mut difficulty = Histogram::new("difficulty", 0.0, 1.0, 20);
        let rejected = rejects.iter().filter_map(|row| row.question.difficulty);
        accepted
            .iter()
            .filter_map(|row| row.difficulty)
            .chain(rejected)
            .for_each(|value| difficulty.record(value));
        vec![difficulty]
    }
}

impl Score {
    fn outcome(
        &self,
        shard: &Shard<'_>,
        mut row: QuestionRow,
        value: Option<f64>,
        tokens: i64,
    ) -> RowOutcome<QuestionRow> {
        let Some(value) = value else {
            return reject(
                shard,
                RejectReason::PromptTooLong,
                row,
                &format!("{tokens} tokens do not fit the scorer's context"),
            );
        };
        let difficulty = value.clamp(0.0, 1.0);
        row.difficulty = Some(difficulty);
        if difficulty < self.minimum && self.generators.contains(&row.generator) {
            let detail = format!(
                "predicted fail rate {difficulty:.3}, below {}",
                self.minimum
            );
            return reject(shard, RejectReason::TooEasy, row, &detail);
        }
        RowOutcome::Accepted(row)
    }
}
