//! Runs one shard of a task: the table of stages. A shard that is committed already is not run again.

use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Stage;

use super::shard::{Shard, StageResult};
use super::{CancellationToken, ProgressReporter, StageError};
use super::{
    filter, judge, label, publish, qft, qpo, respond, reward, rewrite, sample_questions, score,
    train_scorer, verify,
};

/// Runs shard `index` of `task`.
///
/// # Errors
/// The task has no such shard, or what its stage returns.
pub fn run_task(
    task: &StageTask,
    index: i64,
    cancellation: &CancellationToken,
    reporter: &ProgressReporter,
) -> Result<StageResult, StageError> {
    let shard = Shard::open(task, index, cancellation, reporter)?;
    // Publish writes outside the workspace, so its committed shard does not prove that the files are still there.
    if task.id.stage != Stage::Publish
        && let Some(manifest) = shard.dir.committed(&shard.range)?
    {
        return Ok(StageResult::committed((manifest, true)));
    }
    match task.id.stage {
        Stage::Qft => qft::qft(&shard),
        Stage::Sample | Stage::Generate => sample_questions::sample_questions(&shard),
        Stage::Rewrite => rewrite::rewrite(&shard),
        Stage::Qpo => qpo::qpo(&shard),
        Stage::Label => label::label(&shard),
        Stage::TrainScorer => train_scorer::train_scorer(&shard),
        Stage::Filter => filter::filter(&shard),
        Stage::Judge => judge::judge(&shard),
        Stage::Score => score::score(&shard),
        Stage::Respond => respond::respond(&shard),
        Stage::Reward => reward::reward(&shard),
        Stage::Verify => verify::verify(&shard),
        Stage::Publish => publish::publish(&shard),
    }
}
