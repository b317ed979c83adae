//! Progress of active stages, for the status only.

use super::ReconcileInput;
use super::record_results::stage_of;
use crate::names::Purpose;
use scalequest_core::plan::Plan;
use scalequest_core::record::RunRecord;
use scalequest_core::status::{ShardProgress, StageProgress};

/// Returns the progress of the planned stages.
pub(super) fn progress(
    input: &ReconcileInput<'_>,
    record: &RunRecord,
    plan: &Plan,
) -> Vec<StageProgress> {
    plan.start
        .iter()
        .filter_map(|task| {
            let stage = stage_of(input, record, task);
            let latest = stage.latest()?;
            let makes = |job: &&&std::sync::Arc<crate::observe::job::ObservedJob>| {
                job.identity.purpose == Purpose::Run
            };
            let made = stage.jobs.iter().rfind(makes);
            let committed = made.map_or(0, |job| {
                task.shards() - i64::from(job.completions) + i64::from(job.succeeded)
            });
            let begun = || {
                let pods = stage.pods.iter();
                pods.filter(|pod| pod.started_at_millis.is_some() && pod.job == latest.uid)
            };
            let shards = begun()
                .filter(|pod| pod.termination.is_none())
                .map(|pod| ShardProgress {
                    shard: latest.shard(pod.index),
                    since_millis: pod.started_at_millis.unwrap_or(input.now_millis),
                    latest: input
                        .owned
                        .progress
                        .get(&pod.uid)
                        .cloned()
                        .unwrap_or_default(),
                })
                .collect();
            Some(StageProgress {
                key: task.key.clone(),
                committed: committed.max(0),
                failed: i64::try_from(stage.all_failed_shards().len()).unwrap_or(0),
                shards,
                has_started: begun().next().is_some(),
                job: Some(latest.name.clone()),
            })
        })
        .collect()
}
