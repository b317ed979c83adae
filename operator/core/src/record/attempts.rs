//! Counts of attempts that did not succeed, by how they ended.

use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Stage;
use scalequest_crds::v1alpha1::status::AttemptStatus;
use serde::{Deserialize, Serialize};

use super::RunRecord;

/// Attempts from which on the status shows them: one or two are nothing unusual.
const SHOWN_FROM: i64 = 3;

/// How often attempts at a stage ended without success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttemptCounts {
    /// Failed workers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: i64,
    /// Evicted, preempted and deleted pods.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub evicted: i64,
    /// Workers that were ended since nothing advanced.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hung: i64,
    /// Restarts of the servers of models.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: i64,
}

impl AttemptCounts {
    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        *self == AttemptCounts::default()
    }

    /// Returns what the status shows; `None` if there were few.
    pub fn shown(&self) -> Option<AttemptStatus> {
        let AttemptCounts {
            failed,
            evicted,
            hung,
            restarts,
        } = *self;
        let is_shown = failed + evicted + hung + restarts >= SHOWN_FROM;
        is_shown.then_some(AttemptStatus {
            failed,
            evicted,
            hung,
            restarts,
        })
    }
}

impl std::ops::AddAssign for AttemptCounts {
    fn add_assign(&mut self, other: AttemptCounts) {
        self.failed += other.failed;
        self.evicted += other.evicted;
        self.hung += other.hung;
        self.restarts += other.restarts;
    }
}

impl RunRecord {
    /// Adds attempts at the stage `stage` with content key `key`.
    pub fn add_attempts(&mut self, stage: Stage, key: &str, counts: AttemptCounts) {
        let mut stages = self.stages.iter_mut();
        match stages.find(|stage| stage.key == key && stage.seal.is_none()) {
            Some(stage) => stage.attempts += counts,
            None => self.usage.entry(stage).or_default().attempts += counts,
        }
    }

    /// Moves the attempts at a stage that is sealed to the usage of all stages of its kind: the record holds many sealed stages.
    pub(super) fn settle_attempts(&mut self, task: &StageTask) {
        let mut stages = self.stages.iter_mut();
        if let Some(stage) = stages.find(|stage| stage.key == task.key && stage.id == task.id) {
            let counts = std::mem::take(&mut stage.attempts);
            self.usage.entry(task.id.stage).or_default().attempts += counts;
        }
    }
}

fn is_zero(count: &i64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_shown_from_the_third() {
        let mut counts = AttemptCounts {
            failed: 1,
            evicted: 1,
            ..AttemptCounts::default()
        };
        assert_eq!(counts.shown(), None);
        counts += AttemptCounts {
            hung: 1,
            ..AttemptCounts::default()
        };
        assert_eq!(counts.shown().map(|shown| shown.hung), Some(1));
        let json = serde_json::to_string(&counts).expect("JSON");
        assert_eq!(json, r#"{"failed":1,"evicted":1,"hung":1}"#);
    }
}
