//! Takes up into the record what Jobs have said: seals, shards given up, damage, failures. Each is taken up once, however often it is seen.

use scalequest_crds::protocol::task::StageTask;

use super::stage::{Look, Stages};
use super::{Scene, bill};
use scalequest_core::plan::Plan;
use scalequest_core::record::{Failure, RunRecord, StageFailure};
use scalequest_core::retry::MAX_CORRUPTIONS;
use scalequest_core::validate::ValidRun;

/// Takes up what the stages of `plan` have come to; whether the record changed, so that another plan may follow from it.
pub(super) fn take_up(
    scene: &Scene<'_>,
    run: &ValidRun,
    plan: &Plan,
    record: &mut RunRecord,
) -> bool {
    plan.start
        .iter()
        .any(|task| take_up_stage(scene, run, task, record))
}

/// The stage of `task` as it is seen.
pub(super) fn stage_of<'a>(
    scene: &Scene<'a>,
    record: &RunRecord,
    task: &'a StageTask,
) -> Stages<'a> {
    let given_up = record.given_up.iter().filter(|each| each.key == task.key);
    Stages::new(
        task,
        &scene.belongings.jobs,
        &scene.belongings.pods,
        record.first_round(&task.key),
        given_up.map(|each| each.shard).collect(),
        record.is_new(task),
    )
}

/// What the stage of `task` needs.
pub(super) fn look(scene: &Scene<'_>, record: &RunRecord, task: &StageTask) -> Look {
    let noted = |uid: &str| record.charged.jobs.contains(uid);
    stage_of(scene, record, task).look(noted)
}

fn take_up_stage(
    scene: &Scene<'_>,
    run: &ValidRun,
    task: &StageTask,
    record: &mut RunRecord,
) -> bool {
    let stage = stage_of(scene, record, task);
    match look(scene, record, task) {
        Look::Wait | Look::Start(_) | Look::Later { .. } => return false,
        Look::Sealed(report) => {
            for job in &stage.jobs {
                bill::settle(scene, record, job);
            }
            let computed = record
                .stages
                .iter()
                .any(|known| known.computed && known.key == task.key && known.id == task.id);
            match record.seal(task, &report, !computed && !stage.has_run()) {
                Ok(()) => drop(record.mended(&task.key)),
                Err(error) => fail(record, task, Failure::stage(error.to_string())),
            }
        }
        Look::ShardsFailed { job, shards } => {
            for (shard, message) in &shards {
                record.give_up(task, *shard, message);
            }
            let given_up = i64::try_from(stage.all_given_up().len()).unwrap_or(i64::MAX);
            let (total, allowed) = (
                task.shards(),
                i64::from(run.limits().max_failed_shards_percent),
            );
            let last = shards.values().next_back().map_or("", String::as_str);
            if let Some(failure) = Failure::too_many_shards(given_up, total, allowed, last) {
                fail(record, task, failure);
            }
            for seen in stage.jobs.iter().filter(|seen| seen.uid == job) {
                bill::settle(scene, record, seen);
            }
        }
        Look::InputCorrupted {
            key,
            stage: damaged,
            message,
        } => {
            let rounds = scene.belongings.jobs.iter();
            let rounds = rounds.filter(|job| job.work.key == key);
            let next = rounds.map(|job| job.work.round + 1).max().unwrap_or(0);
            // What has read the damage says nothing of what is made again.
            record.begin_again(&task.key, stage.next_round());
            match record.damage(&key, next) {
                Some(times) if u32::try_from(times).is_ok_and(|times| times <= MAX_CORRUPTIONS) => {
                }
                _ => fail(record, task, Failure::corrupt_input(damaged, &message)),
            }
        }
        Look::Failed(failure) => fail(record, task, failure),
    }
    true
}

fn fail(record: &mut RunRecord, task: &StageTask, failure: Failure) {
    record.fail(&StageFailure {
        key: task.key.clone(),
        name: task.id.to_string(),
        failure,
    });
}
