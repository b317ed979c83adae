//! The frame of the stages that prompt a chat model once for each row, with some samples: one prompt a row, one outcome. It
//! knows no stage and no prompt.

use std::ops::Range;

use scalequest_crds::protocol::report::Histogram;
use scalequest_crds::protocol::rows::{QuestionRow, RejectRow};
use scalequest_crds::protocol::task::{ModelUse, StageParams};
use scalequest_crds::v1alpha1::Sampling;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StageError;
use super::row_outcome::{RowOutcome, reject};
use super::row_stage::{RowSink, RowStage, run_row_stage};
use super::serving::{ChatModel, Completion, GeneratedTexts, Prompt};
use super::shard::{Shard, StageResult, wrong_params};

/// A stage that prompts a chat model.
pub trait PromptStage: Sized {
    /// An input row.
    type Row;
    /// A row of the table `rows`.
    type Output: Serialize + DeserializeOwned;

    /// Rows that are prompted together. It changes speed and memory, never a result.
    const BATCH_ROWS: i64;

    /// Returns what the parameters ask for; `None` if they are another stage's.
    fn prompt_spec(params: &StageParams) -> Option<PromptSpec<'_, Self>>;

    /// Reads rows `rows`, by global number.
    ///
    /// # Errors
    /// An input cannot be read.
    fn read(shard: &Shard<'_>, rows: Range<i64>) -> Result<Vec<Self::Row>, StageError>;

    /// Returns the question of a row: its id keys the random draws, and a reject stores it.
    fn question(row: &Self::Row) -> QuestionRow;

    /// Returns the prompt for a row; `None` skips the row.
    fn prompt(&self, shard: &Shard<'_>, row: &Self::Row) -> Option<String>;

    /// Returns the outcome of a row, given the texts that the model generated.
    fn outcome(
        &self,
        shard: &Shard<'_>,
        row: &Self::Row,
        generated: GeneratedTexts,
    ) -> RowOutcome<Self::Output>;

    /// Returns distributions over all rows of the shard.
    fn histograms(accepted: &[&Self::Output]) -> Vec<Histogram>;
}

/// How a stage prompts its model.
pub struct PromptSpec<'a, S> {
    /// The stage itself.
    pub stage: S,
    /// The model.
    pub model: &'a ModelUse,
    /// Texts to generate for each prompt.
    pub samples: i32,
    /// How their tokens are sampled.
    pub sampling: &'a Sampling,
}

/// Runs a shard of stage `S`.
///
/// # Errors
/// The model does not load, an input is corrupt, the workspace fails, or the task is cancelled.
pub fn run_prompt_stage<S: PromptStage>(shard: &Shard<'_>) -> Result<StageResult, StageError> {
    run_row_stage::<PromptRows<S>>(shard)
}

/// A [`PromptStage`] as a [`RowStage`].
struct PromptRows<S> {
    stage: S,
    model: Option<ChatModel>,
    samples: i32,
    sampling: Sampling,
}

impl<S: PromptStage> RowStage for PromptRows<S> {
    type Row = S::Row;
    type Output = S::Output;

    const BATCH_ROWS: i64 = S::BATCH_ROWS;

    /// Loads the model only if a row has a prompt: a shard of seed questions may have none with an answer.
    fn start(shard: &Shard<'_>, rows: &[S::Row]) -> Result<Self, StageError> {
        let spec = S::prompt_spec(&shard.task.params).ok_or_else(|| wrong_params(shard))?;
        let has_prompt = |row| spec.stage.prompt(shard, row).is_some();
        let load = || ChatModel::load(shard, spec.model);
        Ok(PromptRows {
            model: rows.iter().any(has_prompt).then(load).transpose()?,
            stage: spec.stage,
            samples: spec.samples,
            sampling: spec.sampling.clone(),
        })
    }

    fn read(shard: &Shard<'_>, rows: Range<i64>) -> Result<Vec<S::Row>, StageError> {
        S::read(shard, rows)
    }

    /// Outcomes are pushed in the order of the rows, so a skipped row is pushed just before the next row with a prompt.
    fn process(
        &mut self,
        shard: &Shard<'_>,
        rows: &[S::Row],
        sink: &mut RowSink<'_>,
    ) -> Result<(), StageError> {
        let prompt = |(index, row)| {
            let text = self.stage.prompt(shard, row)?;
            Some((index, Prompt::new(S::question(row).id, text)))
        };
        let (indices, prompts): (Vec<usize>, Vec<Prompt>) =
            rows.iter().enumerate().filter_map(prompt).unzip();
        let mut next = 0;
        let mut on_completion = |prompt: usize, completion: Completion| {
            let index = indices[prompt];
            sink.skip(index - next);
            next = index + 1;
            match completion {
                Completion::Rejected(reason, detail) => {
                    let question = S::question(&rows[index]);
                    sink.push(&reject::<S::Output>(shard, reason, question, &detail), 0, 0);
                }
                Completion::Generated(generated) => {
                    let (tokens_in, tokens_out) = (generated.prompt_tokens, generated.new_tokens());
                    let outcome = self.stage.outcome(shard, &rows[index], generated);
                    sink.push(&outcome, tokens_in, tokens_out);
                }
            }
        };
        if let Some(model) = &self.model {
            let (samples, sampling) = (self.samples, &self.sampling);
            model.complete(shard, &prompts, samples, sampling, &mut on_completion)?;
        }
        sink.skip(rows.len() - next);
        Ok(())
    }

    fn compute_backend(&self) -> Option<String> {
        self.model.as_ref().map(ChatModel::compute_backend)
    }

    fn histograms(accepted: &[&S::Output], _: &[&RejectRow]) -> Vec<Histogram> {
        S::histograms(accepted)
    }
}
