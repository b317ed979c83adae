//! How far the stages under way are, for display.

use super::Scene;
use super::take_up::stage_of;
use crate::names::Purpose;
use scalequest_core::plan::Plan;
use scalequest_core::record::RunRecord;
use scalequest_core::status::{ShardProgress, StageProgress};

/// What is known of the stages that the plan wants.
pub(super) fn progress(scene: &Scene<'_>, record: &RunRecord, plan: &Plan) -> Vec<StageProgress> {
    plan.start
        .iter()
        .filter_map(|task| {
            let stage = stage_of(scene, record, task);
            let latest = stage.latest()?;
            let makes = |job: &&&std::sync::Arc<crate::observe::job::SeenJob>| {
                job.work.purpose == Purpose::Run
            };
            let made = stage.jobs.iter().rfind(makes);
            let committed = made.map_or(0, |job| {
                task.shards() - i64::from(job.completions) + i64::from(job.succeeded)
            });
            let begun = || {
                let pods = stage.pods.iter();
                pods.filter(|pod| pod.began_millis.is_some() && pod.job == latest.uid)
            };
            let shards = begun()
                .filter(|pod| pod.ended.is_none())
                .map(|pod| ShardProgress {
                    shard: latest.shard(pod.index),
                    since_millis: pod.began_millis.unwrap_or(scene.now_millis),
                    latest: scene
                        .belongings
                        .heard
                        .get(&pod.uid)
                        .cloned()
                        .unwrap_or_default(),
                })
                .collect();
            Some(StageProgress {
                key: task.key.clone(),
                committed: committed.max(0),
                given_up: i64::try_from(stage.all_given_up().len()).unwrap_or(0),
                shards,
                has_begun: begun().next().is_some(),
                job: Some(latest.name.clone()),
            })
        })
        .collect()
}
