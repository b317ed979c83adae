//! Adds what work has taken. Usage is charged by worker lifetimes as they end, failed attempts included, so it only ever grows.

use std::collections::BTreeSet;

use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Stage;
use serde::{Deserialize, Serialize};

use super::{GivenUp, RunRecord};

/// Which workers are charged, by the ids that the cluster gives them: so that each is charged once, whoever asks how often. Bounded, since
/// what is gone from the cluster never comes back and is forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Charged {
    /// Jobs of which every pod is charged.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub jobs: BTreeSet<String>,
    /// Pods that were charged alone: they were removed while their Job went on.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub pods: BTreeSet<String>,
}

impl Charged {
    /// Whether nothing is charged that can still be seen.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.pods.is_empty()
    }
}

/// Given-up shards that are kept by name.
const GIVEN_UP_KEPT: usize = 16;

/// Longest kept reason, in characters.
const MESSAGE_KEPT: usize = 240;

impl RunRecord {
    /// Charges the lifetime of one worker, whatever its outcome, to `task`. Negative times count as none.
    pub fn charge(&mut self, task: &StageTask, worker_millis: i64, gpu_millis: i64) {
        self.charge_stage(task.id.stage, &task.key, worker_millis, gpu_millis);
    }

    /// Charges the lifetime of one worker to the stage with content key `key`, as [`RunRecord::charge`].
    pub fn charge_stage(&mut self, stage: Stage, key: &str, worker_millis: i64, gpu_millis: i64) {
        let (worker_millis, gpu_millis) = (worker_millis.max(0), gpu_millis.max(0));
        let usage = self.usage.entry(stage).or_default();
        usage.worker_millis = usage.worker_millis.saturating_add(worker_millis);
        usage.gpu_millis = usage.gpu_millis.saturating_add(gpu_millis);
        if let Some(stage) = self.stages.iter_mut().find(|stage| stage.key == key) {
            stage.worker_millis = stage.worker_millis.saturating_add(worker_millis);
            stage.gpu_millis = stage.gpu_millis.saturating_add(gpu_millis);
        }
    }

    /// Notes that a shard of `task` was given up.
    pub fn give_up(&mut self, task: &StageTask, shard: i64, message: &str) {
        if self
            .given_up
            .iter()
            .any(|each| each.key == task.key && each.shard == shard)
        {
            return;
        }
        self.given_up_total += 1;
        if self.given_up.len() == GIVEN_UP_KEPT {
            self.given_up.remove(0);
        }
        let message = message.chars().take(MESSAGE_KEPT).collect();
        self.given_up.push(GivenUp {
            key: task.key.clone(),
            stage: task.id.stage,
            shard,
            message,
        });
    }
}
