//! The state machine of a stage under way, for both executors: ends of attempts go in, work items come out. Its unit is the shard, as manifests
//! and reports name it. It decides which shards are run, retried or marked failed, when the stage is sealed, and when something outside of it
//! blocks it. Pure: it starts nothing and asks no clock.
//!
//! A stage begins with a seal, which finds what the workspace already holds, runs what the seal misses, and seals again.

mod attempt_end;

mod work_item;

use std::collections::{BTreeMap, BTreeSet};

use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::protocol::report::StageReport;
use scalequest_crds::protocol::shard_set::ShardSet;
use scalequest_crds::protocol::task::StageTask;

pub use crate::record::Blocked;
use crate::record::Failure;
use crate::retry::{MAX_SAME_CAUSE, SEAL_RETRIES, WORKER_BACKOFF};

pub use attempt_end::{AttemptEnd, CorruptInput, FailureClass};
pub use work_item::WorkItem;

#[cfg(test)]
mod tests;

/// What follows from the end of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Transition {
    /// Nothing special: ask for work items again.
    Continue,
    /// The attempt failed and is retried after so many milliseconds.
    Retry(i64),
    /// The shard exhausted its retries.
    ShardFailed,
    /// The stage is sealed.
    Sealed(Box<StageReport>),
    /// A seal found so many shards missing or corrupt.
    FoundMissing(i64),
    /// An output of an earlier stage is corrupt.
    InputCorrupted(CorruptInput),
    /// Something outside of the stage blocks it.
    Blocked(Blocked),
    /// The stage, and so the run, has failed.
    Failed(Failure),
}

/// When failures end a shard or a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureLimits {
    /// Retries of a failed shard.
    pub shard_retries: u32,
    /// Share of the stage's shards that may fail, in percent.
    pub max_failed_percent: i64,
}

/// The state of a stage under way.
#[derive(Clone, Debug)]
pub struct StageMachine {
    task: StageTask,
    limits: FailureLimits,
    needs_seal: bool,
    waiting: BTreeSet<WorkItem>,
    active: BTreeSet<WorkItem>,
    failures: BTreeMap<WorkItem, u32>,
    /// When an item may be retried, in milliseconds since 1970.
    retry_at: BTreeMap<WorkItem, i64>,
    failed_shards: BTreeSet<i64>,
    committed: i64,
    has_computed: bool,
    has_progressed: bool,
    /// The cause of the latest transient failures, and how many there were since the last progress.
    streak: Option<(Cause, u32)>,
    /// The shards whose workers ended with an unknown exit code, by that code.
    unknown_codes: BTreeMap<i32, BTreeSet<i64>>,
}

impl StageMachine {
    /// Creates the machine of a stage of which nothing is known. `failed_shards`: those on record.
    pub fn new(task: StageTask, limits: FailureLimits, failed_shards: BTreeSet<i64>) -> Self {
        StageMachine {
            task,
            limits,
            needs_seal: true,
            waiting: BTreeSet::new(),
            active: BTreeSet::new(),
            failures: BTreeMap::new(),
            retry_at: BTreeMap::new(),
            failed_shards,
            committed: 0,
            has_computed: false,
            has_progressed: false,
            streak: None,
            unknown_codes: BTreeMap::new(),
        }
    }

    /// Runs all shards before anything is sealed: the workspace holds none of them, or what they write outside of it may be gone.
    #[must_use]
    pub fn run_first(mut self) -> Self {
        self.needs_seal = false;
        self.await_shards(&(0..self.task.shards()).collect());
        self
    }

    /// Returns its task.
    pub fn task(&self) -> &StageTask {
        &self.task
    }

    /// Returns the number of shards that are committed, as far as the executor knows.
    pub fn committed(&self) -> i64 {
        self.committed
    }

    /// Returns the shards that exhausted their retries.
    pub fn failed_shards(&self) -> &BTreeSet<i64> {
        &self.failed_shards
    }

    /// Whether an attempt computed part of it.
    pub fn has_computed(&self) -> bool {
        self.has_computed
    }

    /// Returns the cause of the latest failures and how many there were in a row, if they are transient and nothing was committed since.
    pub fn streak(&self) -> Option<(Cause, u32)> {
        self.streak
    }

    /// Whether an attempt committed a shard that was not committed before, or sealed the stage.
    pub fn has_progressed(&self) -> bool {
        self.has_progressed
    }

    /// Whether transient failures block the stage: a probe is cheap and no other attempt is under way, or there were four in a row without
    /// progress. So one sick node does not block the others.
    pub fn is_blocked(&self) -> bool {
        let blocks = |(cause, times): (Cause, u32)| {
            times >= MAX_SAME_CAUSE || cause.is_probeable() && self.active.is_empty()
        };
        self.streak.is_some_and(blocks)
    }

    /// Returns the number of attempts under way.
    pub fn active(&self) -> usize {
        self.active.len()
    }

    /// Returns the work items that may start at `now_millis`, in order.
    pub fn ready(&self, now_millis: i64) -> Vec<WorkItem> {
        let may = |item: &WorkItem| self.retry_at.get(item).is_none_or(|at| *at <= now_millis);
        self.items().into_iter().filter(may).collect()
    }

    /// Returns when the next work item may start, in milliseconds since 1970; `None` if none waits. It may be in the past.
    pub fn next_start(&self) -> Option<i64> {
        let at = |item| self.retry_at.get(&item).copied().unwrap_or(0);
        self.items().into_iter().map(at).min()
    }

    /// Returns the work items that are not under way, the seal once nothing else is left.
    fn items(&self) -> Vec<WorkItem> {
        if self.waiting.is_empty() && self.active.is_empty() && self.needs_seal {
            return vec![WorkItem::Seal];
        }
        self.waiting.iter().copied().collect()
    }

    /// Notes that an attempt at `item` begins; returns its number, from 1.
    pub fn begin_attempt(&mut self, item: WorkItem) -> u32 {
        self.waiting.remove(&item);
        self.retry_at.remove(&item);
        self.needs_seal &= item != WorkItem::Seal;
        self.active.insert(item);
        self.failures.get(&item).copied().unwrap_or(0) + 1
    }

    /// Notes that the attempt at `item` has ended at `now_millis`.
    pub fn end_attempt(&mut self, item: WorkItem, end: AttemptEnd, now_millis: i64) -> Transition {
        self.active.remove(&item);
        match end {
            AttemptEnd::Committed { reused } => {
                self.commit(reused);
                Transition::Continue
            }
            AttemptEnd::Sealed(report) => {
                if item != WorkItem::Seal {
                    self.commit(false);
                }
                (self.streak, self.has_progressed) = (None, true);
                Transition::Sealed(report)
            }
            AttemptEnd::Missing(shards) => {
                let total = i64::try_from(shards.len()).unwrap_or(i64::MAX);
                self.needs_seal = true;
                self.committed = (self.task.shards() - total).max(0);
                self.await_shards(&shards);
                Transition::FoundMissing(total)
            }
            AttemptEnd::InputCorrupted(corrupt) => {
                self.requeue(item);
                Transition::InputCorrupted(corrupt)
            }
            AttemptEnd::Interrupted => {
                self.retry_at.insert(item, now_millis + delay(1));
                self.requeue(item);
                Transition::Continue
            }
            AttemptEnd::Failed { class, message } => self.fail(item, class, message, now_millis),
        }
    }

    /// Notes that the executor itself ended the attempt at `item`.
    pub fn interrupt_attempt(&mut self, item: WorkItem) {
        self.active.remove(&item);
        self.requeue(item);
    }

    fn commit(&mut self, reused: bool) {
        self.streak = None;
        self.committed += 1;
        self.has_computed |= !reused;
        self.has_progressed |= !reused;
        self.needs_seal = true;
    }

    fn await_shards(&mut self, shards: &ShardSet) {
        let known = shards.iter().filter(|shard| **shard < self.task.shards());
        let items = known.map(|shard| match self.failed_shards.contains(shard) {
            true => WorkItem::MarkFailed(*shard),
            false => WorkItem::Shard(*shard),
        });
        self.waiting = items.collect();
    }

    fn requeue(&mut self, item: WorkItem) {
        match item {
            WorkItem::Seal => self.needs_seal = true,
            item => drop(self.waiting.insert(item)),
        }
    }

    fn fail(
        &mut self,
        item: WorkItem,
        class: FailureClass,
        message: String,
        now_millis: i64,
    ) -> Transition {
        match class {
            FailureClass::Permanent => Transition::Failed(Failure::stage(message)),
            FailureClass::Shard => self.mark_failed(item, &message),
            FailureClass::Transient(cause) => {
                self.fail_transiently(item, cause, message, now_millis)
            }
            FailureClass::Unknown { code } => self.count_failure(item, code, message, now_millis),
        }
    }

    fn fail_transiently(
        &mut self,
        item: WorkItem,
        cause: Cause,
        message: String,
        now_millis: i64,
    ) -> Transition {
        let times = self.times(cause);
        self.streak = Some((cause, times));
        let wait = delay(times);
        self.retry_at.insert(item, now_millis + wait);
        self.requeue(item);
        match self.is_blocked() {
            true => Transition::Blocked(Blocked { cause, message }),
            false => Transition::Retry(wait),
        }
    }

    /// Returns how many failures in a row one more by `cause` makes.
    fn times(&self, cause: Cause) -> u32 {
        match self.streak {
            Some((last, times)) if last == cause => times + 1,
            _ => 1,
        }
    }

    /// A failure of unknown cause: the shard's, until workers of three shards, or of all, have ended with the same exit code.
    fn count_failure(
        &mut self,
        item: WorkItem,
        code: Option<i32>,
        message: String,
        now_millis: i64,
    ) -> Transition {
        let failures = self.failures.entry(item).or_default();
        *failures += 1;
        let failures = *failures;
        let retries = match item {
            WorkItem::Seal => SEAL_RETRIES,
            WorkItem::Shard(_) | WorkItem::MarkFailed(_) => self.limits.shard_retries,
        };
        if let (Some(code), Some(shard)) = (code, item.shard()) {
            self.unknown_codes.entry(code).or_default().insert(shard);
        }
        if failures <= retries {
            let wait = delay(failures);
            self.retry_at.insert(item, now_millis + wait);
            self.requeue(item);
            return Transition::Retry(wait);
        }
        if self.is_widespread(code) || !matches!(item, WorkItem::Shard(_)) {
            self.retry_at.insert(item, now_millis + delay(failures));
            self.requeue(item);
            let cause = Cause::WorkerCrashed;
            self.streak = Some((cause, self.times(cause).max(MAX_SAME_CAUSE)));
            return Transition::Blocked(Blocked { cause, message });
        }
        self.mark_failed(item, &message)
    }

    /// Whether workers of three shards, or of all of several, ended with `code`.
    fn is_widespread(&self, code: Option<i32>) -> bool {
        let hit = code.and_then(|code| self.unknown_codes.get(&code));
        let hit = hit.map_or(0, BTreeSet::len);
        let shards = usize::try_from(self.task.shards()).unwrap_or(usize::MAX);
        hit >= 3 || hit == shards && shards > 0
    }

    fn mark_failed(&mut self, item: WorkItem, message: &str) -> Transition {
        let WorkItem::Shard(shard) = item else {
            return Transition::Failed(Failure::stage(message));
        };
        self.failed_shards.insert(shard);
        let failed = i64::try_from(self.failed_shards.len()).unwrap_or(i64::MAX);
        let (shards, percent) = (self.task.shards(), self.limits.max_failed_percent);
        if let Some(failure) = Failure::too_many_shards(failed, shards, percent, message) {
            return Transition::Failed(failure);
        }
        self.waiting.insert(WorkItem::MarkFailed(shard));
        Transition::ShardFailed
    }
}

fn delay(failures: u32) -> i64 {
    i64::try_from(WORKER_BACKOFF.delay(failures).as_millis()).unwrap_or(i64::MAX)
}
