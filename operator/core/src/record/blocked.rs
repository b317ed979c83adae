//! Blocked stages. If something outside of a stage fails its attempts, its pods are released, and a probe without an accelerator is repeated with
//! a growing pause until the cause is gone. All of it is on record, so that pauses survive restarts of the operator. Cluster only: on one machine
//! the run ends and the same command resumes it.

use scalequest_crds::digest::sha256_hex;
use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::StageId;
use serde::{Deserialize, Serialize};

use super::{RetryToken, RunRecord};
use crate::retry::PROBE_BACKOFF;

/// Maximum length of a recorded message, in characters.
const MESSAGE_MAX_CHARS: usize = 600;

/// Share by which a pause is lengthened at most, so that probes of many runs spread.
const JITTER: f64 = 0.25;

/// What blocks a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The cause.
    pub cause: Cause,
    /// What failed, for users.
    pub message: String,
}

/// A stage that something outside of it has blocked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlockedStage {
    /// Its content key.
    pub key: String,
    /// The stage.
    pub id: StageId,
    /// What blocks it.
    pub cause: Cause,
    /// What failed, for users.
    pub message: String,
    /// When it was blocked first, in milliseconds since 1970.
    pub since_millis: i64,
    /// Whether it is retried.
    pub state: BlockedState,
    /// Failed probes, and failed retries after a probe had succeeded, since then. The pause grows with them.
    #[serde(default)]
    pub failures: u32,
    /// Number of the next probe, never that of an existing Job.
    pub probe: i32,
    /// When the next probe is due, in milliseconds since 1970.
    pub probe_at_millis: i64,
    /// What ends the block at once when it changes.
    pub retry: RetryToken,
}

/// State of a blocked stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockedState {
    /// It has no pods and waits for a probe that succeeds, an edit or the annotation.
    Blocked,
    /// Its cause may be gone, so it runs again; nothing was committed since.
    Retrying,
}

impl BlockedStage {
    /// Returns when the next probe starts, in milliseconds since 1970; `None` if the stage waits for an edit. Probes that fell due while no
    /// operator ran, before `started_at_millis`, are spread over a pause, so that many blocked runs do not start theirs at once.
    pub fn probe_due(&self, started_at_millis: i64) -> Option<i64> {
        if self.state != BlockedState::Blocked || !self.cause.is_probeable() {
            return None;
        }
        if self.probe_at_millis >= started_at_millis {
            return Some(self.probe_at_millis);
        }
        let pause = PROBE_BACKOFF.delay(self.failures + 1).as_millis() as f64;
        Some(started_at_millis + (pause * self.fraction()) as i64)
    }

    /// Returns the pause before the next probe, in milliseconds.
    fn pause(&self) -> i64 {
        let pause = PROBE_BACKOFF.delay(self.failures + 1).as_millis() as f64;
        (pause * (1.0 + JITTER * self.fraction())) as i64
    }

    /// Returns a number from 0 to 1 that differs between stages, runs and probes.
    fn fraction(&self) -> f64 {
        let text = format!("{} {} {}", self.key, self.since_millis, self.failures);
        let digits = u32::from_str_radix(&sha256_hex(text.as_bytes())[..8], 16);
        f64::from(digits.unwrap_or(0)) / f64::from(u32::MAX)
    }

    fn fail(&mut self, cause: Cause, message: &str, now_millis: i64) {
        self.cause = cause;
        self.message = message.chars().take(MESSAGE_MAX_CHARS).collect();
        self.failures = self.failures.saturating_add(1);
        self.state = BlockedState::Blocked;
        self.probe_at_millis = now_millis.saturating_add(self.pause());
    }
}

impl RunRecord {
    /// Returns the entry of the stage with content key `key`, if it is blocked or retried.
    pub fn blocked(&self, key: &str) -> Option<&BlockedStage> {
        self.blocked.iter().find(|blocked| blocked.key == key)
    }

    /// Whether the stage with content key `key` must not run.
    pub fn is_blocked(&self, key: &str) -> bool {
        let blocked = self.blocked(key);
        blocked.is_some_and(|blocked| blocked.state == BlockedState::Blocked)
    }

    /// Records that `blocked` blocks the stage of `task`. If it was retried without progress, the pause grows on. `probe`: a number that no
    /// probe of the stage has.
    pub fn block(
        &mut self,
        task: &StageTask,
        blocked: &Blocked,
        probe: i32,
        retry: RetryToken,
        now_millis: i64,
    ) {
        let Blocked { cause, message } = blocked;
        if let Some(known) = self.entry_of(&task.key) {
            known.probe = known.probe.max(probe);
            known.retry = retry;
            known.fail(*cause, message, now_millis);
            return;
        }
        let mut entry = BlockedStage {
            key: task.key.clone(),
            id: task.id.clone(),
            cause: *cause,
            message: message.chars().take(MESSAGE_MAX_CHARS).collect(),
            since_millis: now_millis,
            state: BlockedState::Blocked,
            failures: 0,
            probe,
            probe_at_millis: now_millis,
            retry,
        };
        entry.probe_at_millis += entry.pause();
        self.blocked.push(entry);
    }

    /// Records that a probe of the stage with content key `key` failed at `at_millis`; `found`: what it found, if it says so.
    pub fn fail_probe(&mut self, key: &str, found: Option<&Blocked>, at_millis: i64) {
        if let Some(entry) = self.entry_of(key) {
            let same = Blocked {
                cause: entry.cause,
                message: entry.message.clone(),
            };
            let Blocked { cause, message } = found.unwrap_or(&same);
            entry.fail(*cause, message, at_millis);
            entry.probe += 1;
        }
    }

    /// Retries the blocked stage with content key `key`: a probe succeeded.
    pub fn retry_blocked(&mut self, key: &str) {
        if let Some(entry) = self.entry_of(key) {
            entry.state = BlockedState::Retrying;
            entry.probe += 1;
        }
    }

    /// Retries all blocked stages whose token is not `now`: an edit, or the annotation, asks for it.
    pub fn retry_edited(&mut self, now: &RetryToken) {
        for entry in self.blocked.iter_mut().filter(|entry| entry.retry != *now) {
            entry.state = BlockedState::Retrying;
            entry.failures = 0;
            entry.retry = now.clone();
        }
    }

    /// Removes the entry of the stage with content key `key`: it committed something, or ended.
    pub fn unblock(&mut self, key: &str) {
        self.blocked.retain(|blocked| blocked.key != key);
    }

    fn entry_of(&mut self, key: &str) -> Option<&mut BlockedStage> {
        self.blocked.iter_mut().find(|blocked| blocked.key == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::simulation::{FakeRun, accepted, run};
    use crate::plan::{Observations, plan};

    fn blocked(cause: Cause, message: &str) -> Blocked {
        Blocked {
            cause,
            message: message.into(),
        }
    }

    fn of_first_stage(cause: Cause) -> (RunRecord, StageTask) {
        let run = run(&FakeRun::default());
        let mut record = accepted(&run);
        let task = plan(&run, &record, &Observations::default(), 0)
            .start
            .remove(0);
        let denied = blocked(cause, "no");
        record.block(&task, &denied, 3, RetryToken::default(), 1_000_000);
        (record, task)
    }

    #[test]
    fn pauses_grow_to_minutes() {
        let (mut record, task) = of_first_stage(Cause::AccessDenied);
        let mut now = 1_000_000;
        let mut pauses = Vec::new();
        for probe in 3..12 {
            let entry = record.blocked(&task.key).unwrap();
            assert_eq!(entry.probe, probe);
            let due = entry.probe_due(0).unwrap();
            pauses.push((due - now) / 1000);
            now = due;
            record.fail_probe(&task.key, None, now);
        }
        assert!((10..=12).contains(&pauses[0]), "{pauses:?}");
        assert!((480..=600).contains(&pauses[8]), "{pauses:?}");
        assert!(pauses.is_sorted(), "{pauses:?}");
        assert_eq!(record.blocked(&task.key).unwrap().message, "no");
    }

    #[test]
    fn failed_retry_extends_the_pause() {
        let (mut record, task) = of_first_stage(Cause::StoreUnavailable);
        for _ in 0..4 {
            record.fail_probe(&task.key, None, 0);
        }
        record.retry_blocked(&task.key);
        assert!(!record.is_blocked(&task.key) && record.blocked(&task.key).is_some());
        let denied = blocked(Cause::AccessDenied, "403");
        record.block(&task, &denied, 0, RetryToken::default(), 0);
        let entry = record.blocked(&task.key).unwrap();
        assert_eq!((entry.failures, entry.cause), (5, Cause::AccessDenied));
        assert_eq!((entry.probe, entry.since_millis), (8, 1_000_000));
        record.unblock(&task.key);
        assert!(record.blocked.is_empty());
    }

    #[test]
    fn overdue_probes_are_spread() {
        let (record, task) = of_first_stage(Cause::DiskFull);
        let mut entry = record.blocked(&task.key).unwrap().clone();
        entry.failures = 9;
        let due = |number: i64| {
            let other = BlockedStage {
                since_millis: number,
                ..entry.clone()
            };
            other.probe_due(10_000_000).unwrap() - 10_000_000
        };
        let dues: Vec<i64> = (0..200).map(due).collect();
        assert!(dues.iter().all(|due| (0..=480_000).contains(due)));
        // No ten seconds hold more than a tenth of them.
        let busiest = (0..48).map(|at| dues.iter().filter(|due| **due / 10_000 == at).count());
        assert!(busiest.max().unwrap() <= 20);
        assert_eq!(entry.probe_due(0), Some(entry.probe_at_millis));
    }

    #[test]
    fn causes_without_probe_wait_for_edit() {
        let (mut record, task) = of_first_stage(Cause::OutOfMemory);
        assert_eq!(record.blocked(&task.key).unwrap().probe_due(0), None);
        record.retry_edited(&RetryToken::default());
        assert!(record.is_blocked(&task.key));
        let edited = RetryToken::of(&record.spec, Some(&"1".into()));
        record.retry_edited(&edited);
        assert!(!record.is_blocked(&task.key));
    }
}
