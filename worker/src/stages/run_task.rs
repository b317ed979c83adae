//! Does one shard of a task: unless it is committed already, hands it to its stage. The table of stages.

use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Stage;

use super::shard::{Finished, Shard};
use super::{Progressing, StageError, Stop};
use super::{
    draw_questions, filter, judge, label, publish, qft, qpo, rate, respond, reward, rewrite,
    scorer, verify,
};

/// Does shard `index` of `task`.
///
/// # Errors
/// The task has no such shard, or what its stage returns.
pub fn run_task(
    task: &StageTask,
    index: i64,
    stop: &Stop,
    progressing: &Progressing,
) -> Result<Finished, StageError> {
    let shard = Shard::open(task, index, stop, progressing)?;
    // Publishing writes outside the workspace, so its shard says nothing of what lies there now.
    if task.stage != Stage::Publish
        && let Some(manifest) = shard.dir.committed(&shard.range)?
    {
        return Ok(Finished::committed((manifest, true)));
    }
    match task.stage {
        Stage::Qft => qft::qft(&shard),
        Stage::Sample | Stage::Generate => draw_questions::draw_questions(&shard),
        Stage::Rewrite => rewrite::rewrite(&shard),
        Stage::Qpo => qpo::qpo(&shard),
        Stage::Label => label::label(&shard),
        Stage::Scorer => scorer::scorer(&shard),
        Stage::Filter => filter::filter(&shard),
        Stage::Judge => judge::judge(&shard),
        Stage::Rate => rate::rate(&shard),
        Stage::Respond => respond::respond(&shard),
        Stage::Reward => reward::reward(&shard),
        Stage::Verify => verify::verify(&shard),
        Stage::Publish => publish::publish(&shard),
    }
}
