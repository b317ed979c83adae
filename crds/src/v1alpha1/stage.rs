//! The stages of a run, in the order in which a run goes through them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One step of the method (paper, section 3). The order of the variants is the order of a run.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Stage {
    /// Question fine-tuning: the generator is trained to generate questions (SFT on questions only).
    Qft,
    /// Samples questions from the fine-tuned generator, to be rewritten.
    Sample,
    /// Rewrites each sampled question in one random direction.
    Rewrite,
    /// Question preference optimisation: DPO on (rewrite, original).
    Qpo,
    /// Measures the fail rates of the solver on seed questions with known answers.
    Label,
    /// Trains the difficulty scorer on the fail rates.
    TrainScorer,
    /// Generates new questions with the trained generators.
    Generate,
    /// Filters by language, contamination, exact and near duplicates.
    Filter,
    /// Judges solvability with a chat model.
    Judge,
    /// Predicts difficulty with the scorer.
    Score,
    /// Generates n responses to each question.
    Respond,
    /// Computes a reward for each response.
    Reward,
    /// Compares final answers and chooses the best response.
    Verify,
    /// Writes the dataset, its card and its report.
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
        Stage::TrainScorer,
        Stage::Generate,
        Stage::Filter,
        Stage::Judge,
        Stage::Score,
        Stage::Respond,
        Stage::Reward,
        Stage::Verify,
        Stage::Publish,
    ];

    /// Returns the stage's name in paths, object names and metric labels.
    pub fn slug(self) -> &'static str {
        match self {
            Stage::Qft => "qft",
            Stage::Sample => "sample",
            Stage::Rewrite => "rewrite",
            Stage::Qpo => "qpo",
            Stage::Label => "label",
            Stage::TrainScorer => "train-scorer",
            Stage::Generate => "generate",
            Stage::Filter => "filter",
            Stage::Judge => "judge",
            Stage::Score => "score",
            Stage::Respond => "respond",
            Stage::Reward => "reward",
            Stage::Verify => "verify",
            Stage::Publish => "publish",
        }
    }

    /// Returns whether rows are independent of each other, so that the stage may be split into shards.
    pub fn is_sharded(self) -> bool {
        !matches!(
            self,
            Stage::Qft
                | Stage::Qpo
                | Stage::TrainScorer
                | Stage::Filter
                | Stage::Verify
                | Stage::Publish
        )
    }

    /// Returns the number of shards of `rows` rows with `shard_rows` in each: at least one.
    pub fn shards(self, rows: i64, shard_rows: i64) -> i64 {
        let (rows, shard_rows) = (rows.max(1), shard_rows.max(1));
        match self.is_sharded() {
            true => rows / shard_rows + i64::from(rows % shard_rows != 0),
            false => 1,
        }
    }

    /// Returns whether the stage trains a model, rather than writing rows.
    pub fn makes_a_model(self) -> bool {
        matches!(self, Stage::Qft | Stage::Qpo | Stage::TrainScorer)
    }

    /// Returns whether the stage uses a language model, and so benefits from an accelerator.
    pub fn needs_a_model(self) -> bool {
        !matches!(self, Stage::Filter | Stage::Verify | Stage::Publish)
    }

    /// Returns the version of the stage's behaviour, part of every content key. It is raised by hand whenever the same inputs and parameters
    /// would give other rows, so that stale work is never reused.
    pub fn version(self) -> u32 {
        match self {
            // Version 0.2 renamed parameters and raised every stage once.
            // 2: smaller micro-batches, whose gradients are added in another order. 3: the model's files say that it samples.
            // 4, and 3 of the scorer: fused operations, which sum in another order. 5, and 4: bf16 matmuls.
            Stage::Qft | Stage::Qpo => 6,
            Stage::TrainScorer => 5,
            // 2: bf16 by default, and tokens sampled from weights whose sums are exact.
            Stage::Sample | Stage::Rewrite | Stage::Label | Stage::Generate | Stage::Judge => 3,
            Stage::Score | Stage::Respond | Stage::Reward => 3,
            Stage::Filter | Stage::Verify | Stage::Publish => 2,
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.slug())
    }
}
