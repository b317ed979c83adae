//! Rate: a trained scorer predicts each question's fail rate, and what is too easy is dropped where the run asks for it
//! (paper, section 3.3).

use std::ops::Range;

use scalequest_crds::protocol::report::Histogram;
use scalequest_crds::protocol::rows::{QuestionRow, RejectRow};
use scalequest_crds::protocol::task::StageParams;
use scalequest_crds::v1alpha1::RejectReason;

use super::StageError;
use super::run_shard::{Fates, RowStage, run_shard};
use super::serving::{DifficultyModel, Scored};
use super::shard::{Fate, Finished, Shard, reject, wrong_params};

/// Rates one shard of questions.
///
/// # Errors
/// The scorer does not load, an input is damaged, the workspace fails, or a stop was asked for.
pub fn rate(shard: &Shard<'_>) -> Result<Finished, StageError> {
    run_shard::<Rate>(shard)
}

struct Rate {
    model: DifficultyModel,
    minimum: f64,
    generators: Vec<String>,
}

impl RowStage for Rate {
    type Row = QuestionRow;
    type Kept = QuestionRow;

    const ROWS_AT_ONCE: i64 = 64;

    fn start(shard: &Shard<'_>, _: &[Self::Row]) -> Result<Self, StageError> {
        let StageParams::Rate {
            model,
            minimum,
            generators,
        } = &shard.task.params
        else {
            return Err(wrong_params(shard));
        };
        Ok(Rate {
            model: DifficultyModel::load(shard, model)?,
            minimum: *minimum,
            generators: generators.clone(),
        })
    }

    fn read(shard: &Shard<'_>, rows: Range<i64>) -> Result<Vec<QuestionRow>, StageError> {
        shard.read_input(0, "rows", rows)
    }

    fn work(
        &mut self,
        shard: &Shard<'_>,
        rows: &[QuestionRow],
        fates: &mut Fates<'_>,
    ) -> Result<(), StageError> {
        let questions: Vec<&str> = rows.iter().map(|row| row.question.as_str()).collect();
        let scores = self.model.rate(shard, &questions)?;
        for (row, Scored { value, tokens }) in rows.iter().zip(scores) {
            fates.push(&self.fate(shard, row.clone(), value, tokens), tokens, 0);
        }
        Ok(())
    }

    fn body(&self) -> Option<String> {
        Some(self.model.body())
    }

    fn histograms(kept: &[&QuestionRow], rejects: &[&RejectRow]) -> Vec<Histogram> {
        let mut difficulty = Histogram::new("difficulty", 0.0, 1.0, 20);
        let rejected = rejects.iter().filter_map(|row| row.question.difficulty);
        kept.iter()
            .filter_map(|row| row.difficulty)
            .chain(rejected)
            .for_each(|value| difficulty.record(value));
        vec![difficulty]
    }
}

impl Rate {
    fn fate(
        &self,
        shard: &Shard<'_>,
        mut row: QuestionRow,
        value: Option<f64>,
        tokens: i64,
    ) -> Fate<QuestionRow> {
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
            let said = format!(
                "predicted fail rate {difficulty:.3}, below {}",
                self.minimum
            );
            return reject(shard, RejectReason::TooEasy, row, &said);
        }
        Fate::Kept(row)
    }
}
