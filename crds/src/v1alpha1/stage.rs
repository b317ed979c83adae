//! The stages of a run, in the order in which a run goes through them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One step of the method (paper, section 3). The order of the variants is the order of a run.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Stage {
    /// Question fine-tuning: the generator learns to ask (SFT on questions only).
    Qft,
    /// Questions sampled from the fine-tuned generator, to be rewritten.
    Sample,
    /// Each sampled question rewritten in one random direction.
    Rewrite,
    /// Question preference optimisation: DPO on (rewrite, original).
    Qpo,
    /// Fail rates of the solver on seed questions with known answers.
    Label,
    /// The difficulty scorer, trained on the fail rates.
    Scorer,
    /// New questions from the trained generators.
    Generate,
    /// Language, contamination, exact and near duplicates.
    Filter,
    /// Solvability, judged by a chat model.
    Judge,
    /// Difficulty, predicted by the scorer.
    Rate,
    /// n responses to each question.
    Respond,
    /// A reward for each response.
    Reward,
    /// Agreement of final answers and the choice of the best response.
    Verify,
    /// The dataset, its card and its report.
    Publish,
}

impl Stage {
    /// Every stage, in the order of a run.
    pub const ALL: [Stage; 14] = [
        Stage::Qft,
        Stage::Sample,
        Stage::Rewrite,
        Stage::Qpo,
        Stage::Label,
        Stage::Scorer,
        Stage::Generate,
        Stage::Filter,
        Stage::Judge,
        Stage::Rate,
        Stage::Respond,
        Stage::Reward,
        Stage::Verify,
        Stage::Publish,
    ];

    /// The stage's name in paths, object names and metric labels.
    pub fn slug(self) -> &'static str {
        match self {
            Stage::Qft => "qft",
            Stage::Sample => "sample",
            Stage::Rewrite => "rewrite",
            Stage::Qpo => "qpo",
            Stage::Label => "label",
            Stage::Scorer => "scorer",
            Stage::Generate => "generate",
            Stage::Filter => "filter",
            Stage::Judge => "judge",
            Stage::Rate => "rate",
            Stage::Respond => "respond",
            Stage::Reward => "reward",
            Stage::Verify => "verify",
            Stage::Publish => "publish",
        }
    }

    /// Whether rows are independent of each other, so that the stage may be cut into shards.
    pub fn is_sharded(self) -> bool {
        !matches!(
            self,
            Stage::Qft
                | Stage::Qpo
                | Stage::Scorer
                | Stage::Filter
                | Stage::Verify
                | Stage::Publish
        )
    }

    /// Whether the stage makes a model rather than rows.
    pub fn makes_a_model(self) -> bool {
        matches!(self, Stage::Qft | Stage::Qpo | Stage::Scorer)
    }

    /// Whether the stage works with a language model, and so wants an accelerator.
    pub fn needs_a_model(self) -> bool {
        !matches!(self, Stage::Filter | Stage::Verify | Stage::Publish)
    }

    /// The version of the stage's behaviour, part of every content key: raised by hand whenever the same
    /// inputs and parameters would give other rows, so that stale work is never reused.
    pub fn version(self) -> u32 {
        match self {
            // 2: smaller micro-batches, whose gradients are added in another order. 3: the model says that its tokens are drawn.
            // 4, and 3 of the scorer: fused operations, which sum in another order. 5, and 4: products of bf16.
            Stage::Qft | Stage::Qpo => 5,
            Stage::Scorer => 4,
            // 2: bf16 by default, and tokens drawn from weights whose sums are exact.
            Stage::Sample | Stage::Rewrite | Stage::Label | Stage::Generate | Stage::Judge => 2,
            Stage::Rate | Stage::Respond | Stage::Reward => 2,
            Stage::Filter | Stage::Verify | Stage::Publish => 1,
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.slug())
    }
}
