//! Label: measures how often the solver fails on seed questions with known answers: what the difficulty scorer learns from
//! (paper, section 3.3, as in DART-Math).

use std::ops::Range;

use scalequest_crds::report::Histogram;
use scalequest_crds::row::{LabelRow, QuestionRow, Reason, RejectRow};
use scalequest_crds::run::{AnswerFormat, Domain, Sampling};
use scalequest_crds::task::StageParams;

use super::StageError;
use super::run_shard::{Fates, RowStage, run_shard};
use super::seeds::{SeedRow, read_seeds};
use super::serving::{Answers, Asked, ChatModel, Prompt, Said};
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

    const ROWS_AT_ONCE: i64 = 128;

    fn start(shard: &Shard<'_>) -> Result<Self, StageError> {
        let StageParams::Label {
            model,
            samples,
            sampling,
            answer_format,
            domain,
            ..
        } = &shard.task.params
        else {
            return Err(wrong_params(shard));
        };
        let (samples, format, domain) = (*samples, *answer_format, *domain);
        Ok(Label {
            model: ChatModel::load(shard, model)?,
            samples,
            sampling: sampling.clone(),
            format,
            domain,
        })
    }

    fn read(shard: &Shard<'_>, rows: Range<i64>) -> Result<Vec<SeedRow>, StageError> {
        let StageParams::Label { seed_questions, .. } = &shard.task.params else {
            return Err(wrong_params(shard));
        };
        read_seeds(seed_questions, rows)
    }

    /// Rows without an answer get their fate when their turn comes: fates are in order.
    fn work(
        &mut self,
        shard: &Shard<'_>,
        rows: &[SeedRow],
        fates: &mut Fates<'_>,
    ) -> Result<(), StageError> {
        let reference = |row: &SeedRow| {
            row.answer
                .as_deref()
                .and_then(|answer| reference_answer(answer, self.format))
        };
        let known: Vec<_> = rows
            .iter()
            .enumerate()
            .filter_map(|(at, row)| Some((at, row, reference(row)?)))
            .collect();
        let prompt = |(_, row, _): &(usize, &SeedRow, String)| {
            Prompt::new(row.id, responding(&row.question, self.domain, self.format))
        };
        let prompts: Vec<_> = known.iter().map(prompt).collect();
        let mut next = 0;
        let pass_over = |fates: &mut Fates<'_>, count: usize| {
            (0..count).for_each(|_| fates.push(&Fate::<LabelRow>::PassedOver, 0, 0))
        };
        self.model.ask(
            shard,
            &prompts,
            self.samples,
            &self.sampling,
            &mut |place, asked| {
                let (at, row, answer) = &known[place];
                pass_over(fates, at - next);
                next = at + 1;
                match asked {
                    Asked::TooLong(said) => fates.push(&too_long(shard, row, &said), 0, 0),
                    Asked::Said(answers) => {
                        fates.push(
                            &Fate::Kept(self.labelled(row, answer, &answers)),
                            answers.prompt_tokens,
                            answers.new_tokens(),
                        );
                    }
                }
            },
        )?;
        pass_over(fates, rows.len() - next);
        Ok(())
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

impl Label {
    fn labelled(&self, row: &SeedRow, answer: &str, answers: &Answers) -> LabelRow {
        let is_wrong = |said: &&Said| {
            !same_answer(
                &final_answer(&said.text, self.format).unwrap_or_default(),
                answer,
            )
        };
        let wrong = answers.texts.iter().filter(is_wrong).count();
        let fail_rate = wrong as f64 / answers.texts.len().max(1) as f64;
        LabelRow {
            id: row.id,
            question: row.question.clone(),
            fail_rate,
            samples: self.samples,
        }
    }
}

fn too_long(shard: &Shard<'_>, row: &SeedRow, said: &str) -> Fate<LabelRow> {
    let (id, generator, question) = (row.id, String::new(), row.question.clone());
    let row = QuestionRow {
        id,
        generator,
        wave: 0,
        question,
        question_tokens: 0,
        difficulty: None,
    };
    reject(shard, Reason::PromptTooLong, row, said)
}
