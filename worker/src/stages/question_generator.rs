//! A question generator: a model that completes the bare question prefix of its own chat template with a question, and ends it
//! as a user's turn ends (paper, section 2). Shared by Sample and Generate.

use scalequest_crds::protocol::rows::QuestionRow;
use scalequest_crds::protocol::task::ModelUse;
use scalequest_crds::v1alpha1::{RejectReason, Sampling};

use super::StageError;
use super::row_outcome::{RowOutcome, reject};
use super::row_stage::RowSink;
use super::serving::{Completion, PrefixModel};
use super::shard::Shard;

/// A model that generates questions.
pub struct QuestionGenerator(PrefixModel);

impl QuestionGenerator {
    /// Loads a generator.
    ///
    /// # Errors
    /// As [`PrefixModel::load`].
    pub fn load(
        shard: &Shard<'_>,
        model: &ModelUse,
        system_prompt: Option<&str>,
    ) -> Result<Self, StageError> {
        PrefixModel::load(shard, model, system_prompt).map(QuestionGenerator)
    }

    /// Generates a question for each id and pushes its outcome to `sink`. Random draws are keyed by run seed, stage, generator
    /// and id.
    ///
    /// # Errors
    /// As [`PrefixModel::complete`].
    pub fn generate(
        &self,
        shard: &Shard<'_>,
        ids: &[i64],
        sampling: &Sampling,
        sink: &mut RowSink<'_>,
    ) -> Result<(), StageError> {
        let mut on_completion = |index: usize, completion| match completion {
            Completion::Rejected(reason, detail) => {
                let question = row(shard, ids[index], "", 0);
                let outcome = reject::<QuestionRow>(shard, reason, question, &detail);
                sink.push(&outcome, 0, 0);
            }
            Completion::Generated(generated) => {
                let (text, tokens, finished) =
                    generated.texts.first().map_or(("", 0, true), |first| {
                        (first.text.trim(), first.tokens, first.finished)
                    });
                let question = row(shard, ids[index], text, tokens);
                let outcome = if text.is_empty() {
                    reject(shard, RejectReason::Empty, question, "")
                } else if finished {
                    RowOutcome::Accepted(question)
                } else {
                    let detail = format!("cut at {tokens} tokens");
                    reject(shard, RejectReason::Unfinished, question, &detail)
                };
                sink.push(&outcome, generated.prompt_tokens, generated.new_tokens());
            }
        };
        self.0.complete(shard, ids, sampling, &mut on_completion)
    }

    /// Returns the name of the compute backend.
    pub fn compute_backend(&self) -> String {
        self.0.compute_backend()
    }
}

fn row(shard: &Shard<'_>, id: i64, question: &str, question_tokens: i32) -> QuestionRow {
    let generator = shard.task.id.generator.clone().unwrap_or_default();
    QuestionRow {
        id,
        generator,
        wave: shard.task.id.wave.unwrap_or(0),
        question: question.to_owned(),
        question_tokens,
        difficulty: None,
    }
}
