//! State of a stage under way on this machine: which of its shards are to be run, retried or marked failed, and when it is sealed.
//! Pure: it gets the results of attempts and returns what to start; it must not start anything itself, nor ask the clock.
//!
//! A stage begins with a seal, which finds what the workspace already holds, runs what the seal misses, and seals again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use scalequest_crds::protocol::exit_codes::worker;
use scalequest_crds::protocol::report::{Outcome, StageReport};
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Stage;

use super::attempt::AttemptResult;
use scalequest_core::record::Failure;
use scalequest_core::retry::{SEAL_RETRIES, SHARD_RETRIES, WORKER_BACKOFF};

#[cfg(test)]
mod tests;

/// A work item of a stage, done by one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkItem {
    /// Check and seal the stage.
    Seal,
    /// Make a shard.
    Shard(i64),
    /// Commit a shard as failed: each of its rows is a reject.
    MarkFailed(i64),
}

impl WorkItem {
    /// The shard, unless it is the seal.
    pub fn shard(self) -> Option<i64> {
        match self {
            WorkItem::Seal => None,
            WorkItem::Shard(index) | WorkItem::MarkFailed(index) => Some(index),
        }
    }
}

/// What follows from the end of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Transition {
    /// Nothing special: ask for work items again.
    Continue,
    /// The attempt failed and is retried after this backoff.
    Retry(Duration),
    /// The shard is given up.
    ShardFailed,
    /// The stage is sealed.
    Sealed(Box<StageReport>),
    /// A seal found corrupt or missing shards.
    FoundMissing(i64),
    /// An output of an earlier stage is corrupt.
    InputCorrupted {
        /// The stage that wrote it.
        stage: Stage,
        /// Its content key.
        key: String,
        /// What is wrong with it.
        message: String,
    },
    /// An infrastructure failure, which counts against no shard: a full disk, an endpoint that does not answer.
    Blocked(String),
    /// The stage, and so the run, has failed.
    Failed(Failure),
}

/// The state of a stage under way.
#[derive(Debug)]
pub struct StageState {
    task: StageTask,
    max_failed_percent: i64,
    needs_seal: bool,
    waiting: BTreeSet<WorkItem>,
    active: BTreeSet<WorkItem>,
    failures: BTreeMap<WorkItem, u32>,
    retry_at: BTreeMap<WorkItem, Instant>,
    failed_shards: BTreeSet<i64>,
    committed: i64,
    computed: bool,
}

impl StageState {
    /// A stage that nothing is known of. `max_failed_percent`: share of shards that may fail.
    pub fn new(task: StageTask, max_failed_percent: i64) -> StageState {
        StageState {
            task,
            max_failed_percent,
            needs_seal: true,
            waiting: BTreeSet::new(),
            active: BTreeSet::new(),
            failures: BTreeMap::new(),
            retry_at: BTreeMap::new(),
            failed_shards: BTreeSet::new(),
            committed: 0,
            computed: false,
        }
    }

    /// Its task.
    pub fn task(&self) -> &StageTask {
        &self.task
    }

    /// Shards committed so far, as far as this runner knows.
    pub fn committed(&self) -> i64 {
        self.committed
    }

    /// Shards that are marked failed.
    pub fn failed_shards(&self) -> i64 {
        i64::try_from(self.failed_shards.len()).unwrap_or(i64::MAX)
    }

    /// Whether this runner computed any of it.
    pub fn has_computed(&self) -> bool {
        self.computed
    }

    /// Workers under way.
    pub fn active(&self) -> usize {
        self.active.len()
    }

    /// Returns the work items that may start at `now`, in order.
    pub fn ready(&self, now: Instant) -> Vec<WorkItem> {
        let may = |item: &WorkItem| self.retry_at.get(item).is_none_or(|at| *at <= now);
        if self.waiting.is_empty() && self.active.is_empty() && self.needs_seal {
            return Some(WorkItem::Seal).into_iter().filter(may).collect();
        }
        self.waiting.iter().copied().filter(may).collect()
    }

    /// Notes that an attempt at `item` begins; returns its number, from 1.
    pub fn begin_attempt(&mut self, item: WorkItem) -> u32 {
        self.waiting.remove(&item);
        self.retry_at.remove(&item);
        self.needs_seal &= item != WorkItem::Seal;
        self.active.insert(item);
        self.failures.get(&item).copied().unwrap_or(0) + 1
    }

    /// Notes that an attempt at `item` has ended at `now`.
    pub fn end_attempt(
        &mut self,
        item: WorkItem,
        result: &AttemptResult,
        now: Instant,
    ) -> Transition {
        self.active.remove(&item);
        let report = result
            .report
            .as_ref()
            .filter(|report| report.key == self.task.key);
        match (result.code, report.map(|report| (&report.outcome, report))) {
            (Some(worker::DONE), Some((Outcome::Done { reused }, _))) if item != WorkItem::Seal => {
                self.committed += 1;
                self.computed |= !reused;
                self.needs_seal = true;
                Transition::Continue
            }
            (Some(worker::DONE), Some((Outcome::Sealed { .. }, report)))
                if item == WorkItem::Seal =>
            {
                Transition::Sealed(Box::new(report.clone()))
            }
            (_, Some((Outcome::Missing { shards, total }, _))) if item == WorkItem::Seal => {
                self.needs_seal = true;
                self.committed = (self.task.shards() - total).max(0);
                self.waiting.extend(shards.iter().map(|index| {
                    if self.failed_shards.contains(index) {
                        WorkItem::MarkFailed(*index)
                    } else {
                        WorkItem::Shard(*index)
                    }
                }));
                Transition::FoundMissing(*total)
            }
            (
                _,
                Some((
                    Outcome::InputCorrupted {
                        stage,
                        key,
                        message,
                    },
                    _,
                )),
            ) => {
                self.requeue(item);
                let (stage, key, message) = (*stage, key.clone(), message.clone());
                Transition::InputCorrupted {
                    stage,
                    key,
                    message,
                }
            }
            (Some(worker::STOPPED), _) => {
                self.requeue(item);
                self.retry_at.insert(item, now + WORKER_BACKOFF.delay(1));
                Transition::Continue
            }
            (Some(code), _) if worker::is_infrastructure_failure(code) => {
                self.requeue(item);
                Transition::Blocked(result.message())
            }
            (Some(worker::TASK_FAILED_PERMANENTLY), _) => {
                Transition::Failed(Failure::stage(result.message()))
            }
            (Some(worker::SHARD_FAILED_PERMANENTLY), _) => {
                self.mark_failed(item, &result.message())
            }
            _ => self.fail_attempt(item, &result.message(), now),
        }
    }

    fn requeue(&mut self, item: WorkItem) {
        if item == WorkItem::Seal {
            self.needs_seal = true;
        } else {
            self.waiting.insert(item);
        }
    }

    /// Notes that the runner itself ended an attempt at `item`.
    pub fn interrupt_attempt(&mut self, item: WorkItem) {
        self.active.remove(&item);
        self.requeue(item);
    }

    /// Runs the shard of an unsharded stage before anything is sealed, though the workspace may hold it: its output outside
    /// the workspace may be gone.
    pub fn rerun(mut self) -> StageState {
        self.waiting.insert(WorkItem::Shard(0));
        self.needs_seal = false;
        self
    }

    /// Notes a failed attempt at `item` that may be retried.
    pub fn fail_attempt(&mut self, item: WorkItem, message: &str, now: Instant) -> Transition {
        self.active.remove(&item);
        let failures = self.failures.entry(item).or_default();
        *failures += 1;
        let retries = match item {
            WorkItem::Seal => SEAL_RETRIES,
            WorkItem::Shard(_) | WorkItem::MarkFailed(_) => SHARD_RETRIES,
        };
        if *failures > retries {
            return self.mark_failed(item, message);
        }
        let wait = WORKER_BACKOFF.delay(*failures);
        self.retry_at.insert(item, now + wait);
        self.requeue(item);
        Transition::Retry(wait)
    }

    fn mark_failed(&mut self, item: WorkItem, message: &str) -> Transition {
        let WorkItem::Shard(index) = item else {
            return Transition::Failed(Failure::stage(message));
        };
        self.failed_shards.insert(index);
        let (failed, shards) = (self.failed_shards(), self.task.shards());
        if let Some(failure) =
            Failure::too_many_shards(failed, shards, self.max_failed_percent, message)
        {
            return Transition::Failed(failure);
        }
        self.waiting.insert(WorkItem::MarkFailed(index));
        Transition::ShardFailed
    }
}
