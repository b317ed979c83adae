//! Respond: answers each question several times, each response drawn for itself (paper, section 3.4: five).

use std::ops::Range;

use scalequest_crds::report::Histogram;
use scalequest_crds::row::{AnsweredRow, QuestionRow, Reason, RejectRow, ResponseRow};
use scalequest_crds::run::{AnswerFormat, Domain, Sampling};
use scalequest_crds::task::StageParams;

use super::StageError;
use super::run_shard::{Fates, RowStage, run_shard};
use super::serving::{Asked, ChatModel, Prompt, Said};
use super::shard::{Fate, Finished, Shard, reject, wrong_params};
use crate::answers::final_answer;
use crate::prompts::responding::responding;

/// Answers one shard of questions.
///
/// # Errors
/// The model does not load, an input is damaged, the workspace fails, or a stop was asked for.
pub fn respond(shard: &Shard<'_>) -> Result<Finished, StageError> {
    run_shard::<Respond>(shard)
}

struct Respond {
    model: ChatModel,
    samples: i32,
    sampling: Sampling,
    format: AnswerFormat,
    domain: Domain,
}

impl RowStage for Respond {
    type Row = QuestionRow;
    type Kept = AnsweredRow;

    const ROWS_AT_ONCE: i64 = 128;

    fn start(shard: &Shard<'_>) -> Result<Self, StageError> {
        let StageParams::Respond {
            model,
            samples,
            sampling,
            answer_format,
            domain,
        } = &shard.task.params
        else {
            return Err(wrong_params(shard));
        };
        let (samples, format, domain) = (*samples, *answer_format, *domain);
        Ok(Respond {
            model: ChatModel::load(shard, model)?,
            samples,
            sampling: sampling.clone(),
            format,
            domain,
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
        let prompt = |row: &QuestionRow| {
            Prompt::new(row.id, responding(&row.question, self.domain, self.format))
        };
        let prompts: Vec<_> = rows.iter().map(prompt).collect();
        self.model.ask(
            shard,
            &prompts,
            self.samples,
            &self.sampling,
            &mut |place, asked| {
                let question = rows[place].clone();
                match asked {
                    Asked::TooLong(said) => fates.push(
                        &reject::<AnsweredRow>(shard, Reason::PromptTooLong, question, &said),
                        0,
                        0,
                    ),
                    Asked::Said(answers) => {
                        let (read, made) = (answers.prompt_tokens, answers.new_tokens());
                        let responses = answers
                            .texts
                            .into_iter()
                            .zip(0..)
                            .map(|(said, index)| self.response(said, index))
                            .collect();
                        fates.push(
                            &Fate::Kept(AnsweredRow {
                                question,
                                responses,
                            }),
                            read,
                            made,
                        );
                    }
                }
            },
        )
    }

    fn body(&self) -> String {
        self.model.body()
    }

    fn histograms(kept: &[&AnsweredRow], _: &[&RejectRow]) -> Vec<Histogram> {
        let mut tokens = Histogram::new("responseTokens", 0.0, 2048.0, 16);
        kept.iter()
            .flat_map(|row| &row.responses)
            .for_each(|response| tokens.record(response.tokens.into()));
        vec![tokens]
    }
}

impl Respond {
    fn response(&self, said: Said, index: i32) -> ResponseRow {
        let final_answer = final_answer(&said.text, self.format);
        ResponseRow {
            index,
            text: said.text,
            tokens: said.tokens,
            finished: said.finished,
            final_answer,
            reward: None,
        }
    }
}
