//! A model that asks: given the bare question prefix of its own chat template it draws a question, and ends it as a user's
//! turn ends (paper, section 2). Shared by Sample and Generate.

use scalequest_crds::protocol::rows::QuestionRow;
use scalequest_crds::protocol::task::ModelUse;
use scalequest_crds::v1alpha1::{RejectReason, Sampling};

use super::StageError;
use super::run_shard::Fates;
use super::serving::{Asked, PrefixModel};
use super::shard::{Fate, Shard, reject};

/// A model that asks.
pub struct QuestionModel(PrefixModel);

impl QuestionModel {
    /// Loads a generator.
    ///
    /// # Errors
    /// As [`PrefixModel::load`].
    pub fn load(
        shard: &Shard<'_>,
        model: &ModelUse,
        system_prompt: Option<&str>,
    ) -> Result<Self, StageError> {
        PrefixModel::load(shard, model, system_prompt).map(QuestionModel)
    }

    /// Draws a question for each id and gives `fates` what came of it. The draws depend on run seed, stage, generator and id.
    ///
    /// # Errors
    /// As [`PrefixModel::go_on`].
    pub fn draw(
        &self,
        shard: &Shard<'_>,
        ids: &[i64],
        sampling: &Sampling,
        fates: &mut Fates<'_>,
    ) -> Result<(), StageError> {
        self.0
            .go_on(shard, ids, sampling, &mut |place, asked| match asked {
                Asked::Declined(reason, said) => {
                    let question = row(shard, ids[place], "", 0);
                    let fate = reject::<QuestionRow>(shard, reason, question, &said);
                    fates.push(&fate, 0, 0);
                }
                Asked::Said(answers) => {
                    let (text, tokens, finished) =
                        answers.texts.first().map_or(("", 0, true), |said| {
                            (said.text.trim(), said.tokens, said.finished)
                        });
                    let question = row(shard, ids[place], text, tokens);
                    let fate = if text.is_empty() {
                        reject(shard, RejectReason::Empty, question, "")
                    } else if finished {
                        Fate::Kept(question)
                    } else {
                        reject(
                            shard,
                            RejectReason::Unfinished,
                            question,
                            &format!("cut at {tokens} tokens"),
                        )
                    };
                    fates.push(&fate, answers.prompt_tokens, answers.new_tokens());
                }
            })
    }

    /// The arithmetic body.
    pub fn body(&self) -> String {
        self.0.body()
    }
}

fn row(shard: &Shard<'_>, id: i64, question: &str, question_tokens: i32) -> QuestionRow {
    let generator = shard.task.generator.clone().unwrap_or_default();
    QuestionRow {
        id,
        generator,
        wave: shard.task.wave.unwrap_or(0),
        question: question.to_owned(),
        question_tokens,
        difficulty: None,
    }
}
