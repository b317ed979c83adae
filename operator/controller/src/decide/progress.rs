//! Progress of active stages, for the status only.

use super::stage_jobs::StageJobs;
use super::{ReconcileInput, usage};
use crate::names::Purpose;
use scalequest_core::plan::Plan;
use scalequest_core::record::RunRecord;
use scalequest_core::status::{ShardProgress, StageProgress};
use scalequest_core::validate::ValidRun;
use scalequest_crds::protocol::task::StageTask;

/// Returns the progress of the planned stages.
pub(super) fn progress(
    input: &ReconcileInput<'_>,
    run: &ValidRun,
    record: &RunRecord,
    plan: &Plan,
) -> Vec<StageProgress> {
    let stages = plan.start.iter();
    stages
        .filter_map(|task| of_stage(input, run, record, task))
        .collect()
}

fn of_stage(
    input: &ReconcileInput<'_>,
    run: &ValidRun,
    record: &RunRecord,
    task: &StageTask,
) -> Option<StageProgress> {
    let stage = StageJobs::new(input, run, record, task);
    let latest = stage.latest()?;
    let mut jobs = stage.jobs.iter();
    let computes = jobs.rfind(|job| job.identity.purpose == Purpose::Run);
    let committed = computes.map_or(0, |job| {
        task.shards() - i64::from(job.completions) + i64::from(job.succeeded)
    });
    let pods = || input.owned.pods_of(latest);
    let shards = pods()
        .filter(|pod| pod.is_running())
        .map(|pod| ShardProgress {
            shard: latest.shard(pod.index),
            since_millis: pod.started_at_millis.unwrap_or(input.now_millis),
            latest: input
                .owned
                .progress
                .get(&pod.uid)
                .cloned()
                .unwrap_or_default(),
        });
    Some(StageProgress {
        key: task.key.clone(),
        committed: committed.max(0),
        failed: i64::try_from(stage.all_failed_shards().len()).unwrap_or(0),
        shards: shards.collect(),
        has_started: pods().any(|pod| pod.started_at_millis.is_some()),
        attempts: usage::uncounted_attempts(input, record, &task.key),
        job: Some(latest.name.clone()),
    })
}
