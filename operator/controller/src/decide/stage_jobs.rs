//! The state machine of a stage, derived from its Jobs: what it waits for, or which Job comes next. As on one machine, a seal finds what the
//! workspace holds already, missing shards are computed, shards that exhaust their retry budget are marked failed, and the stage is sealed by
//! the worker of its last shard, or by a Job of its own. The state is in the Jobs and the record alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use scalequest_crds::protocol::exit_codes::worker::{
    TASK_FAILED_PERMANENTLY, is_infrastructure_failure,
};
use scalequest_crds::protocol::report::{Outcome, StageReport};
use scalequest_crds::protocol::shard_set::ShardSet;
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Stage;

use super::ReconcileInput;
use crate::names::{JobIdentity, Purpose};
use crate::observe::OwnedObjects;
use crate::observe::job::{JobState, ObservedJob};
use crate::observe::pod::{Termination, last_failure};
use scalequest_core::record::{Failure, RunRecord};
use scalequest_core::retry::INFRASTRUCTURE_BACKOFF;

/// Attempts after which an unsealed stage fails.
const MAX_ATTEMPTS: i32 = 200;

/// A stage with its Jobs.
#[derive(Clone, Debug)]
pub struct StageJobs<'a> {
    task: &'a StageTask,
    owned: &'a OwnedObjects,
    /// Its Jobs, oldest attempt first.
    pub jobs: Vec<&'a Arc<ObservedJob>>,
    /// The first attempt that counts.
    first_attempt: i32,
    /// Failed shards on record.
    failed_shards: BTreeSet<i64>,
    /// Whether the workspace cannot hold any of it: this run has just computed an input.
    is_new: bool,
}

/// The next action of a stage.
#[derive(Clone, Debug, PartialEq)]
pub enum NextAction {
    /// None: a Job is active or terminating.
    Wait,
    /// Start a Job.
    Start {
        /// Its identity.
        identity: JobIdentity,
        /// Its shards, `None` for all.
        shard_indexes: Option<ShardSet>,
    },
    /// Retry later: workers fail for a transient reason outside the run.
    Backoff {
        /// When to retry, in milliseconds since 1970.
        retry_at_millis: i64,
        /// What the last worker reported.
        message: String,
    },
    /// Record the seal.
    Sealed(Box<StageReport>),
    /// Record failed shards, with the messages of their workers, and ask [`StageJobs::next_action`] again.
    ShardsFailed {
        /// Their Job.
        job: Arc<ObservedJob>,
        /// Shard and message.
        shards: BTreeMap<i64, String>,
    },
    /// Record that an earlier stage's output is corrupt.
    InputCorrupted {
        /// Content key of that stage.
        key: String,
        /// The stage.
        stage: Stage,
        /// What is corrupt.
        message: String,
    },
    /// Record the failure: it is permanent.
    Failed(Failure),
}

/// Returns the identity of the stage of `task`, with attempt 0.
pub fn identity_of(task: &StageTask) -> JobIdentity {
    JobIdentity {
        purpose: Purpose::Seal,
        id: Some(task.id.clone()),
        key: task.key.clone(),
        attempt: 0,
    }
}

impl<'a> StageJobs<'a> {
    /// Selects the Jobs of the stage of `task`.
    pub fn new(
        input: &ReconcileInput<'a>,
        record: &RunRecord,
        task: &'a StageTask,
    ) -> StageJobs<'a> {
        let identity = identity_of(task);
        let jobs = input.owned.jobs.iter();
        let failed_shards = record.failed_shards.iter();
        let failed_shards = failed_shards.filter(|each| each.key == task.key);
        StageJobs {
            task,
            owned: input.owned,
            jobs: jobs
                .filter(|job| job.identity.same_stage(&identity))
                .collect(),
            first_attempt: record.first_attempt(&task.key),
            failed_shards: failed_shards.map(|each| each.shard).collect(),
            is_new: record.is_new(task),
        }
    }

    /// Returns the next action.
    pub fn next_action(&self, record: &RunRecord) -> NextAction {
        if self.jobs.iter().any(|job| job.is_terminating) {
            return NextAction::Wait;
        }
        if let Some(corrupted) = self.input_corrupted() {
            return corrupted;
        }
        let Some(job) = self.latest() else {
            // The output of a publication is outside the workspace and may be gone: it is computed again.
            let is_computed =
                self.task.id.stage == Stage::Publish || self.is_new && self.first_attempt == 0;
            let purpose = if is_computed {
                Purpose::Run
            } else {
                Purpose::Seal
            };
            return self.start(purpose, None);
        };
        if !job.has_ended() {
            return NextAction::Wait;
        }
        let is_permanent = |end: &&Termination| end.code == Some(TASK_FAILED_PERMANENTLY);
        if let Some(end) = self.ends(job).find(is_permanent) {
            return NextAction::Failed(Failure::stage(end.failure_message()));
        }
        match job.identity.purpose {
            Purpose::Seal | Purpose::Preflight => self.after_seal(job),
            Purpose::Run if !job.failed_indexes.is_empty() => self.after_failures(job, record),
            Purpose::Run | Purpose::MarkFailed => {
                let is_seal =
                    |report: &&StageReport| matches!(report.outcome, Outcome::Sealed { .. });
                match self.answers(job).find(is_seal) {
                    Some(seal) => NextAction::Sealed(Box::new(seal.clone())),
                    // Its workers did not seal it, or their reports are lost.
                    None => self.start(Purpose::Seal, None),
                }
            }
        }
    }

    /// Returns reports on the whole stage of workers that succeeded.
    fn answers(&self, job: &'a ObservedJob) -> impl Iterator<Item = &'a StageReport> {
        let succeeded = self.ends(job).filter(|end| end.code == Some(0));
        succeeded
            .filter_map(|end| end.report(&self.task.key))
            .filter(|report| report.shard.is_none())
    }

    /// Returns the Jobs that count, oldest attempt first.
    fn counted(&self) -> impl DoubleEndedIterator<Item = &'a Arc<ObservedJob>> {
        let jobs = self.jobs.iter().copied();
        jobs.filter(|job| job.identity.attempt >= self.first_attempt)
    }

    /// Returns the latest Job that counts.
    pub fn latest(&self) -> Option<&'a Arc<ObservedJob>> {
        self.counted().next_back()
    }

    /// Returns the number of the next attempt.
    pub fn next_attempt(&self) -> i32 {
        let after = self.jobs.iter().map(|job| job.identity.attempt + 1);
        after.fold(self.first_attempt, i32::max)
    }

    /// Whether an observed Job has computed part of the stage.
    pub fn has_run(&self) -> bool {
        let mut purposes = self.jobs.iter().map(|job| job.identity.purpose);
        purposes.any(|purpose| matches!(purpose, Purpose::Run | Purpose::MarkFailed))
    }

    /// Returns all failed shards.
    pub fn all_failed_shards(&self) -> BTreeSet<i64> {
        let runs = self
            .counted()
            .filter(|job| job.identity.purpose == Purpose::Run);
        let mut shards = self.failed_shards.clone();
        shards.extend(runs.flat_map(|job| self.failed_shards_of(job)));
        shards
    }

    fn start(&self, purpose: Purpose, shard_indexes: Option<ShardSet>) -> NextAction {
        let attempt = self.next_attempt();
        if attempt - self.first_attempt >= MAX_ATTEMPTS {
            return NextAction::Failed(Failure::stage(format!(
                "not sealed after {MAX_ATTEMPTS} attempts: the workspace's store does not return what was written, check it"
            )));
        }
        NextAction::Start {
            identity: JobIdentity {
                purpose,
                attempt,
                ..identity_of(self.task)
            },
            shard_indexes,
        }
    }

    fn ends(&self, job: &'a ObservedJob) -> impl Iterator<Item = &'a Termination> + use<'a> {
        let pods = self.owned.pods_of(job);
        pods.filter_map(|pod| pod.termination.as_ref())
    }

    fn input_corrupted(&self) -> Option<NextAction> {
        let mut ends = self.counted().flat_map(|job| self.ends(job));
        ends.find_map(|end| match &end.report(&self.task.key)?.outcome {
            Outcome::InputCorrupted {
                stage,
                key,
                message,
            } => Some(NextAction::InputCorrupted {
                key: key.clone(),
                stage: *stage,
                message: message.clone(),
            }),
            _ => None,
        })
    }

    fn after_seal(&self, job: &'a ObservedJob) -> NextAction {
        if job.state != JobState::Complete {
            return self.backoff(job);
        }
        let Some(report) = self.answers(job).next() else {
            // Its report is lost; another seal has the same outcome.
            return self.start(Purpose::Seal, None);
        };
        match &report.outcome {
            Outcome::Sealed { .. } => NextAction::Sealed(Box::new(report.clone())),
            Outcome::Missing { shards, .. } => self.make(shards),
            _ => self.start(Purpose::Seal, None),
        }
    }

    /// Starts the Job of the shards that a seal found missing.
    fn make(&self, shards: &ShardSet) -> NextAction {
        let all: ShardSet = (0..self.task.shards()).collect();
        let failed = self.all_failed_shards();
        let known = || shards.iter().copied().filter(|shard| all.contains(shard));
        let missing: ShardSet = known().filter(|shard| !failed.contains(shard)).collect();
        let lost: ShardSet = known().filter(|shard| failed.contains(shard)).collect();
        match (missing.is_empty(), lost.is_empty()) {
            (false, _) => self.start(Purpose::Run, (missing != all).then_some(missing)),
            (true, false) => self.start(Purpose::MarkFailed, Some(lost)),
            (true, true) => self.start(Purpose::Seal, None),
        }
    }

    fn after_failures(&self, job: &'a Arc<ObservedJob>, record: &RunRecord) -> NextAction {
        let shards = self.failed_shards_of(job);
        if shards.is_empty() {
            return self.backoff(job);
        }
        if record.counted.jobs.contains(&job.uid) {
            return self.start(Purpose::MarkFailed, Some(shards.into_iter().collect()));
        }
        let message = |shard| match self.last_failure_of(job, shard) {
            Some(end) => end.failure_message(),
            None => "its pods were deleted".into(),
        };
        let shards = shards.into_iter().map(|shard| (shard, message(shard)));
        NextAction::ShardsFailed {
            job: job.clone(),
            shards: shards.collect(),
        }
    }

    /// Returns the shards of a Job that exhausted their retry budget, without those that failed for an infrastructure reason, such as a full
    /// disk or an endpoint that does not answer.
    fn failed_shards_of(&self, job: &ObservedJob) -> BTreeSet<i64> {
        let mut shards = job.failed_shards();
        shards.retain(|shard| {
            let code = self.last_failure_of(job, *shard).and_then(|end| end.code);
            !code.is_some_and(is_infrastructure_failure)
        });
        shards
    }

    /// Returns the termination of the last failed pod of a Job's shard.
    fn last_failure_of(&self, job: &ObservedJob, shard: i64) -> Option<&'a Termination> {
        let pods = self.owned.pods.iter().filter(|pod| pod.job == job.uid);
        last_failure(pods.filter(|pod| job.shard(pod.index) == shard))
    }

    /// Returns an exponential backoff by the number of seals that failed in a row.
    fn backoff(&self, job: &ObservedJob) -> NextAction {
        let failed = |job: &&&Arc<ObservedJob>| {
            job.identity.purpose == Purpose::Seal && matches!(job.state, JobState::Failed { .. })
        };
        let in_a_row = self.jobs.iter().rev().take_while(failed).count();
        let in_a_row = u32::try_from(in_a_row).unwrap_or(u32::MAX);
        let backoff = INFRASTRUCTURE_BACKOFF.delay(in_a_row).as_millis();
        let backoff = i64::try_from(backoff).unwrap_or(i64::MAX);
        let message = match (&job.state, last_failure(self.owned.pods_of(job))) {
            (_, Some(end)) => end.failure_message(),
            (JobState::Failed { message }, None) => message.clone(),
            _ => "the seal failed".into(),
        };
        NextAction::Backoff {
            retry_at_millis: job.finished_at_millis.unwrap_or(job.created_at_millis) + backoff,
            message,
        }
    }
}
