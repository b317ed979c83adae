//! Label: measures how often the solver fails on seed questions with known answers: what the difficulty scorer learns from
//! (paper, section 3.3, as in DART-Math).

use std::ops::Range;

use scalequest_crds::report::Histogram;
use scalequest_crds::row::{LabelRow, QuestionRow, Reason, RejectRow};
use scalequest_crds::run::{AnswerFormat, Domain, Sampling};
use scalequest_crds::task::StageParams;

use super::StageError;
use super::run_shard::{Batch, RowStage, run_shard};
use super::seeds::{SeedRow, read_seeds};
use super::serving::{Asked, ChatModel, Prompt};
use super::shard::{Fate, Finished, Shard, reject, wrong_params};
use crate::answers::{final_answer, reference_answer, same_answer};
use crate::prompts::responding::responding;

/// Labels one shard of seed questions.
///
/// # Errors
/// The model does not load, a seed file cannot be read, the workspace fails, or a stop was asked for.
pub fn label(shard: &Shard<'_>) -> Result<Finished, StageError> {
    run_shard::<Label>(shard)
}

struct Label {
    model: ChatModel,
    samples: i32,
    sampling: Sampling,
    format: AnswerFormat,
    domain: Domain,
}

impl RowStage for Label {
    type Row = SeedRow;
    type Kept = LabelRow;

    fn start(shard: &Shard<'_>) -> Result<Self, StageError> {
        let StageParams::Label { model, samples, sampling, answer_format, domain, .. } = &shard.task.params else {
            return Err(wrong_params(shard));
        };
        let (samples, format, domain) = (*samples, *answer_format, *domain);
        Ok(Label { model: ChatModel::load(shard, model)?, samples, sampling: sampling.clone(), format, domain })
    }

    fn read(shard: &Shard<'_>, rows: Range<i64>) -> Result<Vec<SeedRow>, StageError> {
        let StageParams::Label { seed_questions, .. } = &shard.task.params else {
            return Err(wrong_params(shard));
        };
        read_seeds(seed_questions, rows)
    }

    fn work(&mut self, shard: &Shard<'_>, rows: Vec<SeedRow>) -> Result<Batch<LabelRow>, StageError> {
        let reference = |row: &SeedRow| row.answer.as_deref().and_then(|answer| reference_answer(answer, self.format));
        let (known, unknown): (Vec<_>, Vec<_>) = rows.into_iter().map(|row| (reference(&row), row)).partition(|(answer, _)| answer.is_some());
        let prompts: Vec<_> =
            known.iter().map(|(_, row)| Prompt::new(row.id, responding(&row.question, self.domain, self.format))).collect();
        let asked = self.model.ask(shard, &prompts, self.samples, &self.sampling)?;
        let mut batch = Batch::default();
        batch.fates.extend(unknown.iter().map(|_| Fate::PassedOver));
        for ((answer, row), asked) in known.into_iter().zip(asked) {
            let SeedRow { id, question, .. } = row;
            let fate = match asked {
                Asked::TooLong(said) => {
                    let row = QuestionRow { id, generator: String::new(), wave: 0, question, question_tokens: 0, difficulty: None };
                    reject(shard, Reason::PromptTooLong, row, &said)
                }
                Asked::Said(said) => {
                    let said = batch.count_said(&said);
                    let wrong = said.iter().filter(|said| {
                        let found = final_answer(&said.text, self.format).unwrap_or_default();
                        !same_answer(&found, answer.as_deref().unwrap_or_default())
                    });
                    let fail_rate = wrong.count() as f64 / said.len().max(1) as f64;
                    Fate::Kept(LabelRow { id, question, fail_rate, samples: self.samples })
                }
            };
            batch.fates.push(fate);
        }
        Ok(batch)
    }

    fn body(&self) -> String {
        self.model.body()
    }

    fn histograms(kept: &[&LabelRow], _: &[&RejectRow]) -> Vec<Histogram> {
        let mut rates = Histogram::new("failRate", 0.0, 1.0, 20);
        kept.iter().for_each(|row| rates.record(row.fail_rate));
        vec![rates]
    }
}
