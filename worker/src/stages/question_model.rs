//! A model that asks: given the bare question prefix of its own chat template it draws a question, and ends it as a user's
//! turn ends (paper, section 2). Shared by Sample and Generate.

use scalequest_crds::row::{QuestionRow, Reason};
use scalequest_crds::run::Sampling;
use scalequest_crds::task::ModelUse;

use super::StageError;
use super::run_shard::Batch;
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
    pub fn load(shard: &Shard<'_>, model: &ModelUse, system_prompt: Option<&str>) -> Result<Self, StageError> {
        let serving = Serving::load(shard, model)?;
        let prefix = serving.template()?.question_prefix(system_prompt)?;
        let tokens = serving.tokenizer().encode(&prefix.text)?;
        // Any special token ends a question: a model that opens another turn has finished this one.
        let mut stops = stop_tokens(serving.tokenizer());
        if !stops.contains(&prefix.end_token) {
            stops.push(prefix.end_token);
        }
        Ok(QuestionModel { serving, prefix: tokens, stops })
    }

    /// Draws a question for each id. The draws depend on run seed, stage, generator and id.
    ///
    /// # Errors
    /// The arithmetic fails, or a stop was asked for.
    pub fn draw(&mut self, shard: &Shard<'_>, ids: &[i64], sampling: &Sampling) -> Result<Batch<QuestionRow>, StageError> {
        let generator = shard.task.generator.clone().unwrap_or_default();
        let prompts: Vec<_> = ids.iter().map(|id| (*id, self.prefix.clone())).collect();
        let asked = self.serving.complete(shard, &prompts, &self.stops, 1, sampling)?;
        let mut batch = Batch::default();
        for (&id, asked) in ids.iter().zip(asked) {
            let row = |question: &str, tokens: i32| QuestionRow {
                id,
                generator: generator.clone(),
                wave: shard.task.wave.unwrap_or(0),
                question: question.to_owned(),
                question_tokens: tokens,
                difficulty: None,
            };
            let said = match asked {
                Asked::TooLong(said) => {
                    batch.fates.push(reject(shard, Reason::PromptTooLong, row("", 0), &said));
                    continue;
                }
                Asked::Said(answers) => batch.count_said(&answers).into_iter().next(),
            };
            let (question, tokens, finished) = said.as_ref().map_or(("", 0, true), |said| (said.text.trim(), said.tokens, said.finished));
            let row = row(question, tokens);
            batch.fates.push(if question.is_empty() {
                reject(shard, Reason::Empty, row, "")
            } else if finished {
                Fate::Kept(row)
            } else {
                reject(shard, Reason::Unfinished, row, &format!("cut at {tokens} tokens"))
            });
        }
        Ok(batch)
    }

    /// The arithmetic body.
    pub fn body(&self) -> String {
        self.serving.body()
    }
}
