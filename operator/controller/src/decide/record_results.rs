//! Records the results of Jobs: seals, failed shards, corrupt inputs, failures. Each is recorded once, however often it is observed.

use scalequest_crds::protocol::task::StageTask;

use super::stage_jobs::{NextAction, StageJobs};
use super::{ReconcileInput, usage};
use scalequest_core::plan::Plan;
use scalequest_core::record::{Failure, RunRecord, StageFailure};
use scalequest_core::retry::MAX_CORRUPTIONS;
use scalequest_core::validate::ValidRun;

/// Records the result of the first stage of `plan` that has one. Returns whether the record changed, so that another plan may follow from it.
pub(super) fn record_results(
    input: &ReconcileInput<'_>,
    run: &ValidRun,
    plan: &Plan,
    record: &mut RunRecord,
) -> bool {
    plan.start
        .iter()
        .any(|task| record_stage_result(input, run, task, record))
}

/// Returns the stage of `task` with its observed Jobs.
pub(super) fn stage_of<'a>(
    input: &ReconcileInput<'a>,
    record: &RunRecord,
    task: &'a StageTask,
) -> StageJobs<'a> {
    let failed_shards = record
        .failed_shards
        .iter()
        .filter(|each| each.key == task.key);
    StageJobs::new(
        task,
        &input.owned.jobs,
        &input.owned.pods,
        record.first_attempt(&task.key),
        failed_shards.map(|each| each.shard).collect(),
        record.is_new(task),
    )
}

/// Returns the next action of the stage of `task`.
pub(super) fn next_action(
    input: &ReconcileInput<'_>,
    record: &RunRecord,
    task: &StageTask,
) -> NextAction {
    let is_recorded = |uid: &str| record.counted.jobs.contains(uid);
    stage_of(input, record, task).next_action(is_recorded)
}

fn record_stage_result(
    input: &ReconcileInput<'_>,
    run: &ValidRun,
    task: &StageTask,
    record: &mut RunRecord,
) -> bool {
    let stage = stage_of(input, record, task);
    match next_action(input, record, task) {
        NextAction::Wait | NextAction::Start(_) | NextAction::Backoff { .. } => return false,
        NextAction::Sealed(report) => {
            for job in &stage.jobs {
                usage::finalize_usage(input, record, job);
            }
            let computed = record
                .stages
                .iter()
                .any(|known| known.computed && known.key == task.key && known.id == task.id);
            match record.seal(task, &report, !computed && !stage.has_run()) {
                Ok(()) => drop(record.mark_repaired(&task.key)),
                Err(error) => fail(record, task, Failure::stage(error.to_string())),
            }
        }
        NextAction::ShardsFailed { job, shards } => {
            for (shard, message) in &shards {
                record.add_failed_shard(task, *shard, message);
            }
            let failed_shards = i64::try_from(stage.all_failed_shards().len()).unwrap_or(i64::MAX);
            let (total, allowed) = (
                task.shards(),
                i64::from(run.limits().max_failed_shards_percent),
            );
            let last = shards.values().next_back().map_or("", String::as_str);
            if let Some(failure) = Failure::too_many_shards(failed_shards, total, allowed, last) {
                fail(record, task, failure);
            }
            for seen in stage.jobs.iter().filter(|seen| seen.uid == job) {
                usage::finalize_usage(input, record, seen);
            }
        }
        NextAction::InputCorrupted {
            key,
            stage: corrupted,
            message,
        } => {
            let attempts = input.owned.jobs.iter();
            let attempts = attempts.filter(|job| job.identity.key == key);
            let next = attempts
                .map(|job| job.identity.attempt + 1)
                .max()
                .unwrap_or(0);
            // Ignore results of attempts that read the corrupt input.
            record.restart_from(&task.key, stage.next_attempt());
            match record.mark_corrupted(&key, next) {
                Some(times) if u32::try_from(times).is_ok_and(|times| times <= MAX_CORRUPTIONS) => {
                }
                _ => fail(record, task, Failure::corrupt_input(corrupted, &message)),
            }
        }
        NextAction::Failed(failure) => fail(record, task, failure),
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
