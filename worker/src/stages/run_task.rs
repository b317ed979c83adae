//! Does one shard of a task: unless it is committed already, hands it to its stage. The table of stages.

use std::cell::Cell;

use scalequest_crds::Stage;
use scalequest_crds::task::StageTask;

use super::shard::{Base, Finished, Shard};
use super::{Progressing, StageError, Stop};
use super::{
    filter, generate, judge, label, publish, qft, qpo, rate, respond, reward, rewrite, sample,
    scorer, verify,
};
use crate::dataset::store::Store;
use crate::dataset::workspace::StageDir;

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
    if !(0..task.shards()).contains(&index) {
        return Err(StageError::Task(format!(
            "stage {} has {} shards, there is no shard {index}",
            task.stage,
            task.shards()
        )));
    }
    stop.check()?;
    let store = Store::open(&task.workspace)?;
    let dir = StageDir::of(&store, task);
    let range = task.range(index);
    // Publishing writes outside the workspace, so its shard says nothing of what lies there now.
    if task.stage != Stage::Publish
        && let Some(manifest) = dir.committed(&range)?
    {
        return Ok(Finished::committed((manifest, true)));
    }
    let shard = Shard {
        task,
        index,
        range,
        store,
        dir,
        stop,
        progressing,
        base: Cell::new(Base::default()),
    };
    match task.stage {
        Stage::Qft => qft::qft(&shard),
        Stage::Sample => sample::sample(&shard),
        Stage::Rewrite => rewrite::rewrite(&shard),
        Stage::Qpo => qpo::qpo(&shard),
        Stage::Label => label::label(&shard),
        Stage::Scorer => scorer::scorer(&shard),
        Stage::Generate => generate::generate(&shard),
        Stage::Filter => filter::filter(&shard),
        Stage::Judge => judge::judge(&shard),
        Stage::Rate => rate::rate(&shard),
        Stage::Respond => respond::respond(&shard),
        Stage::Reward => reward::reward(&shard),
        Stage::Verify => verify::verify(&shard),
        Stage::Publish => publish::publish(&shard),
    }
}
