//! A model that asks: given the bare question prefix of its own chat template it draws a question, and ends it as a user's
//! turn ends (paper, section 2). Shared by Sample and Generate.

use scalequest_crds::row::{QuestionRow, Reason};
use scalequest_crds::run::Sampling;
use scalequest_crds::task::ModelUse;

use super::StageError;
use super::run_shard::Fates;
use super::serving::{Asked, Serving, stop_tokens};
use super::shard::{Fate, Shard, reject};

/// A model that asks.
pub struct QuestionModel {
    serving: Serving,
    prefix: Vec<u32>,
    stops: Vec<u32>,
}

impl QuestionModel {
    /// Loads a generator.
    ///
    /// # Errors
    /// The model does not load, or its template has no question prefix.
    pub fn load(
        shard: &Shard<'_>,
        model: &ModelUse,
        system_prompt: Option<&str>,
    ) -> Result<Self, StageError> {
        let serving = Serving::load(shard, model)?;
        let prefix = serving.template()?.question_prefix(system_prompt)?;
        let tokens = serving.tokenizer().encode(&prefix.text)?;
        // Any special token ends a question: a model that opens another turn has finished this one.
        let mut stops = stop_tokens(serving.tokenizer());
        if !stops.contains(&prefix.end_token) {
            stops.push(prefix.end_token);
        }
        Ok(QuestionModel {
            serving,
            prefix: tokens,
            stops,
        })
    }

    /// Draws a question for each id and gives `fates` what came of it. The draws depend on run seed, stage, generator and id.
    ///
    /// # Errors
    /// The arithmetic fails, or a stop was asked for.
    pub fn draw(
        &self,
        shard: &Shard<'_>,
        ids: &[i64],
        sampling: &Sampling,
        fates: &mut Fates<'_>,
    ) -> Result<(), StageError> {
        let prompts: Vec<_> = ids.iter().map(|id| (*id, self.prefix.clone())).collect();
        self.serving.complete(
            shard,
            &prompts,
            &self.stops,
            1,
            sampling,
            &mut |place, asked| match asked {
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
                        reject(shard, Reason::Empty, question, "")
                    } else if finished {
                        Fate::Kept(question)
                    } else {
                        reject(
                            shard,
                            Reason::Unfinished,
                            question,
                            &format!("cut at {tokens} tokens"),
                        )
                    };
                    fates.push(&fate, answers.prompt_tokens, answers.new_tokens());
                }
            },
        )
    }

    /// The arithmetic body.
    pub fn body(&self) -> String {
        self.serving.body()
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
