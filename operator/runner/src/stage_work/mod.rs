//! One stage under way on this machine: which of its shards are to be run, repeated or given up, and when it is sealed. Pure:
//! it is told what happened and answers what to start; it must not start anything itself, nor ask the clock.
//!
//! A stage begins with a seal, which finds what the workspace already holds, runs what the seal misses, and seals again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use scalequest_crds::protocol::exit_codes::worker;
use scalequest_crds::protocol::report::{Outcome, StageReport};
use scalequest_crds::protocol::task::StageTask;

use super::attempt::Ended;
use scalequest_core::record::Failure;
use scalequest_core::retry::{SEAL_RETRIES, SHARD_RETRIES, WORKER_BACKOFF};

#[cfg(test)]
mod tests;

/// What a worker is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Job {
    /// Check and seal the stage.
    Seal,
    /// Make a shard.
    Shard(i64),
    /// Commit a shard as given up: each of its rows is a reject.
    GiveUp(i64),
}

impl Job {
    /// The shard, unless it is the seal.
    pub fn shard(self) -> Option<i64> {
        match self {
            Job::Seal => None,
            Job::Shard(index) | Job::GiveUp(index) => Some(index),
        }
    }
}

/// What follows from an ended attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Nothing special: ask for jobs again.
    GoOn,
    /// The attempt failed and is repeated after this time.
    Repeat(Duration),
    /// The shard is given up.
    FailedShard,
    /// The stage is sealed.
    Sealed(Box<StageReport>),
    /// A seal found damaged or missing shards in a stage that had been sealed before.
    FoundMissing(i64),
    /// An output of an earlier stage is damaged.
    InputCorrupted(Box<StageReport>),
    /// The worker met what no shard is to blame for, and what only a person can mend: a full disk, an endpoint that gives no answer.
    Blocked(String),
    /// The stage, and so the run, has failed.
    Failed(Failure),
}

/// The state of a stage under way.
#[derive(Debug)]
pub struct StageWork {
    task: StageTask,
    max_given_up_percent: i64,
    to_seal: bool,
    waiting: BTreeSet<Job>,
    active: BTreeSet<Job>,
    failures: BTreeMap<Job, u32>,
    not_before: BTreeMap<Job, Instant>,
    given_up: BTreeSet<i64>,
    committed: i64,
    computed: bool,
}

impl StageWork {
    /// A stage that nothing is known of. `max_given_up_percent`: share of shards that may be given up.
    pub fn new(task: StageTask, max_given_up_percent: i64) -> StageWork {
        StageWork {
            task,
            max_given_up_percent,
            to_seal: true,
            waiting: BTreeSet::new(),
            active: BTreeSet::new(),
            failures: BTreeMap::new(),
            not_before: BTreeMap::new(),
            given_up: BTreeSet::new(),
            committed: 0,
            computed: false,
        }
    }

    /// What it does.
    pub fn task(&self) -> &StageTask {
        &self.task
    }

    /// Shards committed so far, as far as this runner knows.
    pub fn committed(&self) -> i64 {
        self.committed
    }

    /// Shards given up.
    pub fn given_up(&self) -> i64 {
        i64::try_from(self.given_up.len()).unwrap_or(i64::MAX)
    }

    /// Whether this runner computed any of it.
    pub fn has_computed(&self) -> bool {
        self.computed
    }

    /// Workers at work on it.
    pub fn active(&self) -> usize {
        self.active.len()
    }

    /// Jobs that may start at `now`, in order.
    pub fn ready(&self, now: Instant) -> Vec<Job> {
        let may = |job: &Job| self.not_before.get(job).is_none_or(|at| *at <= now);
        if self.waiting.is_empty() && self.active.is_empty() && self.to_seal {
            return Some(Job::Seal).into_iter().filter(may).collect();
        }
        self.waiting.iter().copied().filter(may).collect()
    }

    /// When a job that waits for its next attempt may start, the earliest.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.not_before.values().min().copied()
    }

    /// `job` has been started; which attempt it is, from 1.
    pub fn started(&mut self, job: Job) -> u32 {
        self.waiting.remove(&job);
        self.not_before.remove(&job);
        self.to_seal &= job != Job::Seal;
        self.active.insert(job);
        self.failures.get(&job).copied().unwrap_or(0) + 1
    }

    /// `job` has ended at `now`.
    pub fn ended(&mut self, job: Job, ended: &Ended, now: Instant) -> Next {
        self.active.remove(&job);
        let report = ended
            .report
            .as_ref()
            .filter(|report| report.key == self.task.key);
        match (ended.code, report.map(|report| (&report.outcome, report))) {
            (Some(worker::DONE), Some((Outcome::Done { reused }, _))) if job != Job::Seal => {
                self.committed += 1;
                self.computed |= !reused;
                self.to_seal = true;
                Next::GoOn
            }
            (Some(worker::DONE), Some((Outcome::Sealed { .. }, report))) if job == Job::Seal => {
                Next::Sealed(Box::new(report.clone()))
            }
            (_, Some((Outcome::Missing { shards, total }, _))) if job == Job::Seal => {
                self.to_seal = true;
                self.committed = (self.task.shards() - total).max(0);
                let all: Vec<i64> = if *total == self.task.shards() {
                    (0..*total).collect()
                } else {
                    shards.clone()
                };
                self.waiting.extend(all.iter().map(|index| {
                    if self.given_up.contains(index) {
                        Job::GiveUp(*index)
                    } else {
                        Job::Shard(*index)
                    }
                }));
                Next::FoundMissing(*total)
            }
            (_, Some((Outcome::InputCorrupted { .. }, report))) => {
                self.put_back(job);
                Next::InputCorrupted(Box::new(report.clone()))
            }
            (Some(worker::STOPPED), _) => {
                self.put_back(job);
                self.not_before.insert(job, now + WORKER_BACKOFF.delay(1));
                Next::GoOn
            }
            (Some(code), _) if worker::is_infrastructure_failure(code) => {
                self.put_back(job);
                Next::Blocked(ended.message())
            }
            (Some(worker::TASK_FAILED_PERMANENTLY), _) => {
                Next::Failed(Failure::stage(ended.message()))
            }
            (Some(worker::SHARD_FAILED_PERMANENTLY), _) => self.give_up(job, &ended.message()),
            _ => self.failed(job, &ended.message(), now),
        }
    }

    fn put_back(&mut self, job: Job) {
        if job == Job::Seal {
            self.to_seal = true;
        } else {
            self.waiting.insert(job);
        }
    }

    /// `job` was ended by the runner itself before it was done.
    pub fn interrupted(&mut self, job: Job) {
        self.active.remove(&job);
        self.put_back(job);
    }

    /// Runs the shard of an unsharded stage before anything is sealed, though the workspace may hold it: what it made outside
    /// the workspace may be gone.
    pub fn make_again(mut self) -> StageWork {
        self.waiting.insert(Job::Shard(0));
        self.to_seal = false;
        self
    }

    /// `job` failed in a way that another attempt may mend.
    pub fn failed(&mut self, job: Job, message: &str, now: Instant) -> Next {
        self.active.remove(&job);
        let failures = self.failures.entry(job).or_default();
        *failures += 1;
        let retries = match job {
            Job::Seal => SEAL_RETRIES,
            Job::Shard(_) | Job::GiveUp(_) => SHARD_RETRIES,
        };
        if *failures > retries {
            return self.give_up(job, message);
        }
        let wait = WORKER_BACKOFF.delay(*failures);
        self.not_before.insert(job, now + wait);
        self.put_back(job);
        Next::Repeat(wait)
    }

    fn give_up(&mut self, job: Job, message: &str) -> Next {
        let Job::Shard(index) = job else {
            return Next::Failed(Failure::stage(message));
        };
        self.given_up.insert(index);
        let (failed, shards) = (self.given_up(), self.task.shards());
        if let Some(failure) =
            Failure::too_many_shards(failed, shards, self.max_given_up_percent, message)
        {
            return Next::Failed(failure);
        }
        self.waiting.insert(Job::GiveUp(index));
        Next::FailedShard
    }
}
