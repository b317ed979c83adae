//! The shape of the stages that ask a chat model about each row by itself: one prompt a row, some answers to it, one fate. It
//! knows no stage, and no prompt.

use std::ops::Range;

use scalequest_crds::protocol::report::Histogram;
use scalequest_crds::protocol::rows::{QuestionRow, RejectRow};
use scalequest_crds::protocol::task::{ModelUse, StageParams};
use scalequest_crds::v1alpha1::Sampling;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StageError;
use super::run_shard::{Fates, RowStage, run_shard};
use super::serving::{Answers, Asked, ChatModel, Prompt};
use super::shard::{Fate, Finished, Shard, reject, wrong_params};

/// A stage that asks a chat model.
pub trait AskStage: Sized {
    /// A row of work.
    type Row;
    /// What becomes of a row that goes on.
    type Kept: Serialize + DeserializeOwned;

    /// Rows that are asked about together. It changes speed and memory, never a result.
    const ROWS_AT_ONCE: i64;

    /// What the parameters ask for; `None` where they are another stage's.
    fn asking(params: &StageParams) -> Option<Asking<'_, Self>>;

    /// Rows `rows`, by global number.
    ///
    /// # Errors
    /// An input cannot be read.
    fn read(shard: &Shard<'_>, rows: Range<i64>) -> Result<Vec<Self::Row>, StageError>;

    /// The question of a row: its id keys the draws, and a reject carries it.
    fn question(row: &Self::Row) -> QuestionRow;

    /// What is said to the model about a row; `None` passes it over.
    fn prompt(&self, shard: &Shard<'_>, row: &Self::Row) -> Option<String>;

    /// What comes of the answers.
    fn fate(&self, shard: &Shard<'_>, row: &Self::Row, answers: Answers) -> Fate<Self::Kept>;

    /// Distributions over all rows of the shard.
    fn histograms(kept: &[&Self::Kept]) -> Vec<Histogram>;
}

/// What a task's parameters ask for.
pub struct Asking<'a, S> {
    /// The stage itself.
    pub stage: S,
    /// The model.
    pub model: &'a ModelUse,
    /// Answers to each prompt.
    pub samples: i32,
    /// How they are drawn.
    pub sampling: &'a Sampling,
}

/// Runs a shard of stage `S`.
///
/// # Errors
/// The model does not load, an input is damaged, the workspace fails, or a stop was asked for.
pub fn ask_rows<S: AskStage>(shard: &Shard<'_>) -> Result<Finished, StageError> {
    run_shard::<AskRows<S>>(shard)
}

struct AskRows<S> {
    stage: S,
    model: Option<ChatModel>,
    samples: i32,
    sampling: Sampling,
}

impl<S: AskStage> RowStage for AskRows<S> {
    type Row = S::Row;
    type Kept = S::Kept;

    const ROWS_AT_ONCE: i64 = S::ROWS_AT_ONCE;

    /// The model is loaded where there is a row to ask about: of the seed questions a shard may have none with an answer.
    fn start(shard: &Shard<'_>, rows: &[S::Row]) -> Result<Self, StageError> {
        let asking = S::asking(&shard.task.params).ok_or_else(|| wrong_params(shard))?;
        let asks = |row| asking.stage.prompt(shard, row).is_some();
        let load = || ChatModel::load(shard, asking.model);
        Ok(AskRows {
            model: rows.iter().any(asks).then(load).transpose()?,
            stage: asking.stage,
            samples: asking.samples,
            sampling: asking.sampling.clone(),
        })
    }

    fn read(shard: &Shard<'_>, rows: Range<i64>) -> Result<Vec<S::Row>, StageError> {
        S::read(shard, rows)
    }

    /// A row that is passed over gets its fate when its turn comes: fates are in order.
    fn work(
        &mut self,
        shard: &Shard<'_>,
        rows: &[S::Row],
        fates: &mut Fates<'_>,
    ) -> Result<(), StageError> {
        let prompt = |(at, row)| {
            let text = self.stage.prompt(shard, row)?;
            Some((at, Prompt::new(S::question(row).id, text)))
        };
        let (places, prompts): (Vec<usize>, Vec<Prompt>) =
            rows.iter().enumerate().filter_map(prompt).unzip();
        let pass_over = |fates: &mut Fates<'_>, count: usize| {
            (0..count).for_each(|_| fates.push(&Fate::<S::Kept>::PassedOver, 0, 0))
        };
        let mut next = 0;
        let mut take = |place: usize, asked: Asked| {
            let at = places[place];
            pass_over(fates, at - next);
            next = at + 1;
            match asked {
                Asked::Declined(reason, said) => {
                    let question = S::question(&rows[at]);
                    fates.push(&reject::<S::Kept>(shard, reason, question, &said), 0, 0);
                }
                Asked::Said(answers) => {
                    let (read, made) = (answers.prompt_tokens, answers.new_tokens());
                    fates.push(&self.stage.fate(shard, &rows[at], answers), read, made);
                }
            }
        };
        if let Some(model) = &self.model {
            model.ask(shard, &prompts, self.samples, &self.sampling, &mut take)?;
        }
        pass_over(fates, rows.len() - next);
        Ok(())
    }

    fn body(&self) -> Option<String> {
        self.model.as_ref().map(ChatModel::body)
    }

    fn histograms(kept: &[&S::Kept], _: &[&RejectRow]) -> Vec<Histogram> {
        S::histograms(kept)
    }
}
