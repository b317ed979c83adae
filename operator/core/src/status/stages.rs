//! The stages of the status, each with its state and shards.

use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::v1alpha1::status::{ShardStatus, StageStatus};
use scalequest_crds::v1alpha1::{Stage, StageId};

use super::stage_state::StageState;
use crate::plan::{End, Plan, chain};
use crate::record::{AttemptCounts, RunRecord};
use crate::validate::ValidRun;

/// Maximum number of stages in the status, the latest ones.
const LISTED: usize = 100;

/// Progress of an active stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageProgress {
    /// Its content key.
    pub key: String,
    /// Shards committed.
    pub committed: i64,
    /// Failed shards.
    pub failed: i64,
    /// Active shards.
    pub shards: Vec<ShardProgress>,
    /// Whether a worker of it has started, even one that has ended and is not counted yet.
    pub has_started: bool,
    /// Attempts without success that are not on record yet.
    pub attempts: AttemptCounts,
    /// Its Job, in a cluster.
    pub job: Option<String>,
}

/// Progress of an active shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShardProgress {
    /// Its index.
    pub shard: i64,
    /// When its worker started, in milliseconds since 1970.
    pub since_millis: i64,
    /// The latest progress.
    pub latest: Progress,
}

/// Returns the stages in run order, pending ones of the current wave as `Waiting`.
pub(super) fn stages(
    run: &ValidRun,
    record: &RunRecord,
    plan: &Plan,
    progress: &[StageProgress],
) -> Vec<StageStatus> {
    let mut positions = chain::stages(run.method(), &record.waves);
    positions.push(StageId::once(Stage::Publish));
    let surplus = positions.len().saturating_sub(LISTED);
    let positions = positions.into_iter().skip(surplus);
    positions
        .map(|position| stage(position, record, plan, progress))
        .collect()
}

fn stage(
    position: StageId,
    record: &RunRecord,
    plan: &Plan,
    progress: &[StageProgress],
) -> StageStatus {
    let planned = record.stages.iter().find(|each| each.id == position);
    let task = plan.start.iter().find(|task| task.id == position);
    let idle = StageProgress::default();
    let progress = task.and_then(|task| progress.iter().find(|each| each.key == task.key));
    let progress = progress.unwrap_or(&idle);
    let seal = planned.and_then(|planned| planned.seal.as_ref());
    let total = match (task, planned) {
        (Some(task), _) => task.shards(),
        (None, Some(planned)) => position.stage.shards(planned.work, planned.shard_rows),
        (None, None) => 0,
    };
    // A stage stays running between two shards, and between the end of its worker and the Job controller's count of it.
    let has_started = progress.has_started || progress.committed > 0 || !progress.shards.is_empty();
    let is_failed = matches!(plan.finished, Some(End::Failed(_))) && planned.is_some();
    let state = match (task, seal) {
        (Some(task), _) if record.is_blocked(&task.key) => StageState::Blocked,
        (Some(_), _) if has_started => StageState::Running,
        (None, Some(seal)) if seal.reused => StageState::Reused,
        (None, Some(_)) => StageState::Sealed,
        (None, None) if is_failed => StageState::Failed,
        _ => StageState::Waiting,
    };
    let mut attempts = planned.map_or_else(Default::default, |planned| planned.attempts);
    attempts += progress.attempts;
    let mut activities = progress.shards.iter().map(|shard| &shard.latest.activity);
    StageStatus {
        name: position.stage,
        wave: position.wave,
        generator: position.generator,
        state: state.name().into(),
        job: progress.job.clone(),
        attempts: attempts.shown(),
        percent: percent(progress, total),
        activity: activities.find(|activity| !activity.is_empty()).cloned(),
        shards: ShardStatus {
            total,
            succeeded: match (task, seal) {
                (None, Some(_)) => total,
                _ => progress.committed,
            },
            active: i64::try_from(progress.shards.len()).unwrap_or(0),
            failed: progress.failed,
        },
    }
}

/// Returns the progress in percent, or `None` before any progress. 100 is left to a sealed stage, which has no percentage.
fn percent(active_stage: &StageProgress, total: i64) -> Option<i32> {
    let words = || active_stage.shards.iter().map(|shard| &shard.latest);
    if active_stage.committed == 0 && words().all(|latest| latest.total <= 0) {
        return None;
    }
    // A worker's progress counts for at most its own shard.
    let share = |latest: &Progress| match latest.total {
        1.. => latest.done as f64 / latest.total as f64,
        _ => 0.0,
    };
    let under_way: f64 = words().map(|latest| share(latest).clamp(0.0, 1.0)).sum();
    let done = (active_stage.committed + active_stage.failed) as f64 + under_way;
    Some((100.0 * done / total.max(1) as f64).clamp(0.0, 99.0) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_adds_shard_progress() {
        let shard = |done: i64, total: i64| ShardProgress {
            latest: Progress {
                done,
                total,
                ..Progress::default()
            },
            ..ShardProgress::default()
        };
        let of = |committed: i64, shards: Vec<ShardProgress>| StageProgress {
            committed,
            shards,
            ..StageProgress::default()
        };
        for (progress, expected) in [
            (of(0, vec![]), None),
            (of(0, vec![shard(0, 0)]), None),
            (of(0, vec![shard(5, 10), shard(0, 0)]), Some(12)),
            (of(2, vec![]), Some(50)),
            (of(2, vec![shard(9, 10), shard(-5, 10)]), Some(72)),
            (of(3, vec![shard(i64::MAX, 1)]), Some(99)),
        ] {
            assert_eq!(percent(&progress, 4), expected, "{progress:?}");
        }
    }
}
