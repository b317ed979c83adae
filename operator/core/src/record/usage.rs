//! Usage: adds lifetimes of workers when they end, failed attempts included, so it only grows. Records failed shards.

use std::collections::BTreeSet;

use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Stage;
use serde::{Deserialize, Serialize};

use super::{FailedShard, RunRecord, StageUsage};

/// Uids of Jobs and pods whose usage is counted, so that each is counted once. Bounded, since uids of deleted objects are dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CountedUsage {
    /// Jobs whose pods are all counted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub jobs: BTreeSet<String>,
    /// Pods counted by themselves: they were deleted while their Job was active.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub pods: BTreeSet<String>,
}

impl CountedUsage {
    /// Whether no existing object is counted.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.pods.is_empty()
    }
}

/// Maximum number of failed shards with details.
const MAX_FAILED_SHARDS: usize = 16;

/// Maximum length of a message, in characters.
const MESSAGE_MAX_CHARS: usize = 240;

impl RunRecord {
    /// Adds the lifetime of a worker of `task`, whatever its outcome. Negative times count as 0.
    pub fn add_usage(&mut self, task: &StageTask, worker_millis: i64, gpu_millis: i64) {
        self.add_stage_usage(task.id.stage, &task.key, worker_millis, gpu_millis);
    }

    /// Adds the lifetime of a worker of the stage with content key `key`, as [`RunRecord::add_usage`].
    pub fn add_stage_usage(
        &mut self,
        stage: Stage,
        key: &str,
        worker_millis: i64,
        gpu_millis: i64,
    ) {
        let (worker_millis, gpu_millis) = (worker_millis.max(0), gpu_millis.max(0));
        *self.usage.entry(stage).or_default() += StageUsage {
            worker_millis,
            gpu_millis,
            ..StageUsage::default()
        };
        if let Some(stage) = self.stages.iter_mut().find(|stage| stage.key == key) {
            stage.worker_millis = stage.worker_millis.saturating_add(worker_millis);
            stage.gpu_millis = stage.gpu_millis.saturating_add(gpu_millis);
        }
    }

    /// Records that a shard of `task` exhausted its retry budget.
    pub fn add_failed_shard(&mut self, task: &StageTask, shard: i64, message: &str) {
        let is_same = |each: &FailedShard| each.key == task.key && each.shard == shard;
        if self.failed_shards.iter().any(is_same) {
            return;
        }
        self.failed_shards_total += 1;
        if self.failed_shards.len() == MAX_FAILED_SHARDS {
            self.failed_shards.remove(0);
        }
        let message = message.chars().take(MESSAGE_MAX_CHARS).collect();
        self.failed_shards.push(FailedShard {
            key: task.key.clone(),
            stage: task.id.stage,
            shard,
            message,
        });
    }
}
