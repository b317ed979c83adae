//! Judge: a chat model reasons about each question and says whether it can be solved (paper, section 3.3). No clear verdict is
//! a reject of its own.

use std::ops::Range;

use scalequest_crds::report::Histogram;
use scalequest_crds::row::{QuestionRow, Reason, RejectRow};
use scalequest_crds::run::{Domain, Sampling};
use scalequest_crds::task::StageParams;

use super::StageError;
use super::run_shard::{Fates, RowStage, run_shard};
use super::serving::{Asked, ChatModel, Prompt};
use super::shard::{Fate, Finished, Shard, reject, wrong_params};
use crate::prompts::judging::judging;
use crate::prompts::verdict::{Verdict, last_verdict};

/// Judges one shard of questions.
///
/// # Errors
/// The model does not load, an input is damaged, the workspace fails, or a stop was asked for.
pub fn judge(shard: &Shard<'_>) -> Result<Finished, StageError> {
    run_shard::<Judge>(shard)
}

struct Judge {
    model: ChatModel,
    sampling: Sampling,
    domain: Domain,
}

impl RowStage for Judge {
    type Row = QuestionRow;
    type Kept = QuestionRow;

    const ROWS_AT_ONCE: i64 = 256;

    fn start(shard: &Shard<'_>) -> Result<Self, StageError> {
        let StageParams::Judge {
            model,
            sampling,
            domain,
        } = &shard.task.params
        else {
            return Err(wrong_params(shard));
        };
        Ok(Judge {
            model: ChatModel::load(shard, model)?,
            sampling: sampling.clone(),
            domain: *domain,
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
        let prompts: Vec<_> = rows
            .iter()
            .map(|row| Prompt::new(row.id, judging(&row.question, self.domain)))
            .collect();
        self.model
            .ask(shard, &prompts, 1, &self.sampling, &mut |place, asked| {
                let row = rows[place].clone();
                let answers = match asked {
                    Asked::Said(answers) => answers,
                    Asked::TooLong(said) => {
                        return fates.push(
                            &reject::<QuestionRow>(shard, Reason::PromptTooLong, row, &said),
                            0,
                            0,
                        );
                    }
                };
                let text = answers.texts.first().map_or("", |said| said.text.as_str());
                let fate = match last_verdict(text) {
                    Some(Verdict::Yes) => Fate::Kept(row),
                    Some(Verdict::No) => reject(shard, Reason::Unsolvable, row, text),
                    None => reject(shard, Reason::NoVerdict, row, text),
                };
                fates.push(&fate, answers.prompt_tokens, answers.new_tokens());
            })
    }

    fn body(&self) -> String {
        self.model.body()
    }

    fn histograms(_: &[&QuestionRow], _: &[&RejectRow]) -> Vec<Histogram> {
        Vec::new()
    }
}
