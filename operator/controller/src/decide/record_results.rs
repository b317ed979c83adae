//! Records the results of Jobs: seals, failed shards, corrupt inputs, failures. Each is recorded once, however often it is observed.

use scalequest_crds::protocol::task::StageTask;

use super::stage_jobs::{NextAction, StageJobs};
use super::{ReconcileInput, blocked, usage};
use scalequest_core::plan::Plan;
use scalequest_core::record::{Failure, RunRecord, StageFailure};
use scalequest_core::retry::MAX_CORRUPTIONS;
use scalequest_core::stage_machine::CorruptInput;
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

fn record_stage_result(
    input: &ReconcileInput<'_>,
    run: &ValidRun,
    task: &StageTask,
    record: &mut RunRecord,
) -> bool {
    if record.is_blocked(&task.key) {
        return blocked::record_probe(input, task, record);
    }
    let stage = StageJobs::new(input, run, record, task);
    if stage.has_progressed() && record.blocked(&task.key).is_some() {
        record.unblock(&task.key);
        return true;
    }
    match stage.next_action(input.now_millis) {
        NextAction::Wait | NextAction::Start { .. } | NextAction::Backoff { .. } => return false,
        NextAction::Sealed(report) => {
            for job in &stage.jobs {
                usage::finalize_usage(input, record, job);
            }
            let mut known = record.stages.iter();
            let computed =
                known.any(|known| known.computed && known.key == task.key && known.id == task.id);
            match record.seal(task, &report, !computed && !stage.has_run()) {
                Ok(()) => {
                    record.mark_repaired(&task.key);
                    record.unblock(&task.key);
                }
                Err(error) => fail(input, record, task, Failure::stage(error.to_string())),
            }
        }
        NextAction::ShardsFailed { job, shards } => {
            for (shard, message) in &shards {
                record.add_failed_shard(task, *shard, message);
            }
            usage::finalize_usage(input, record, &job);
        }
        NextAction::Blocked {
            blocked,
            failed_shards,
        } => {
            for (shard, message) in &failed_shards {
                record.add_failed_shard(task, *shard, message);
            }
            for job in &stage.jobs {
                usage::finalize_usage(input, record, job);
            }
            record.restart_from(&task.key, stage.next_attempt());
            blocked::block(input, task, &blocked, record);
        }
        NextAction::InputCorrupted(CorruptInput {
            key,
            stage: corrupted,
            message,
        }) => {
            let jobs = input
                .owned
                .jobs
                .iter()
                .filter(|job| job.identity.key == key);
            let next = jobs.map(|job| job.identity.attempt + 1).max().unwrap_or(0);
            // Ignore results of attempts that read the corrupt input.
            record.restart_from(&task.key, stage.next_attempt());
            let times = record.mark_corrupted(&key, next);
            if times.is_none_or(|times| i64::from(times) > i64::from(MAX_CORRUPTIONS)) {
                fail(
                    input,
                    record,
                    task,
                    Failure::corrupt_input(corrupted, &message),
                );
            }
        }
        NextAction::Failed(failure) => fail(input, record, task, failure),
    }
    true
}

/// What a user can do after a permanent failure.
const ADVICE: &str = "to try again, edit pods, stores, modelCache, serviceAccountName, priorityClassName or failurePolicy, or change the annotation scalequest.dev/retry; what else must change needs a run of another name on the same workspace, which reuses the finished stages";

fn fail(input: &ReconcileInput<'_>, record: &mut RunRecord, task: &StageTask, failure: Failure) {
    let Failure { reason, message } = failure;
    record.unblock(&task.key);
    record.fail(&StageFailure {
        key: task.key.clone(),
        name: task.id.to_string(),
        failure: Failure {
            reason,
            message: format!("{message}; {ADVICE}"),
        },
        retry: input.retry_token(record),
    });
}
