//! The state machine of a stage, derived from its Jobs: what it waits for, or which Job comes next. As on one machine, a seal finds what the
//! workspace holds already, missing shards are computed, shards that exhaust their retry budget are marked failed, and the stage is sealed by
//! the worker of its last shard, or by a Job of its own. The state is in the Jobs and the record alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use scalequest_crds::protocol::exit_codes::worker::{
    TASK_FAILED_PERMANENTLY, is_infrastructure_failure,
};
use scalequest_crds::protocol::report::{Outcome, StageReport};
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Stage;

use crate::names::{JobIdentity, Purpose};
use crate::observe::job::{JobState, ObservedJob};
use crate::observe::pod::{ObservedPod, Termination};
use scalequest_core::record::Failure;
use scalequest_core::retry::INFRASTRUCTURE_BACKOFF;

/// Attempts after which an unsealed stage fails.
const MAX_ATTEMPTS: i32 = 200;

/// A stage with its Jobs and their pods.
#[derive(Clone, Debug)]
pub struct StageJobs<'a> {
    /// Its task.
    pub task: &'a StageTask,
    /// Its Jobs, oldest attempt first.
    pub jobs: Vec<&'a Arc<ObservedJob>>,
    /// Pods of these Jobs.
    pub pods: Vec<&'a Arc<ObservedPod>>,
    /// The first attempt that counts.
    pub first_attempt: i32,
    /// Failed shards on record.
    pub failed_shards: BTreeSet<i64>,
    /// Whether the workspace cannot hold any of it: this run has just computed an input.
    pub is_new: bool,
}

/// The next action of a stage.
#[derive(Clone, Debug, PartialEq)]
pub enum NextAction {
    /// None: a Job is active or terminating.
    Wait,
    /// Start a Job.
    Start(Start),
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
        /// Uid of their Job.
        job: String,
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

/// A Job to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Its purpose.
    pub purpose: Purpose,
    /// Its attempt.
    pub attempt: i32,
    /// Its shards, `None` for all.
    pub shard_indexes: Option<BTreeSet<i64>>,
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
    /// Selects the Jobs and pods of the stage of `task`.
    pub fn new(
        task: &'a StageTask,
        jobs: &'a [Arc<ObservedJob>],
        pods: &'a [Arc<ObservedPod>],
        first_attempt: i32,
        failed_shards: BTreeSet<i64>,
        is_new: bool,
    ) -> StageJobs<'a> {
        let identity = identity_of(task);
        let jobs: Vec<_> = jobs
            .iter()
            .filter(|job| job.identity.same_stage(&identity))
            .collect();
        let is_ours = |pod: &&Arc<ObservedPod>| jobs.iter().any(|job| job.uid == pod.job);
        let pods = pods.iter().filter(is_ours).collect();
        StageJobs {
            task,
            jobs,
            pods,
            first_attempt,
            failed_shards,
            is_new,
        }
    }

    /// Returns the next action. `is_recorded`: whether the failed shards of the Job with this uid are on record.
    pub fn next_action(&self, is_recorded: impl Fn(&str) -> bool) -> NextAction {
        if self.jobs.iter().any(|job| job.is_terminating) {
            return NextAction::Wait;
        }
        if let Some(corrupted) = self.input_corrupted() {
            return corrupted;
        }
        let Some(job) = self.latest() else {
            // The output of a publication is outside the workspace and may be gone: it is computed again.
            let is_made =
                self.task.id.stage == Stage::Publish || self.is_new && self.first_attempt == 0;
            let purpose = if is_made { Purpose::Run } else { Purpose::Seal };
            return self.start(purpose, None);
        };
        if !job.has_ended() {
            return NextAction::Wait;
        }
        if let Some(end) = self
            .ends(job)
            .find(|end| end.code == Some(TASK_FAILED_PERMANENTLY))
        {
            return NextAction::Failed(Failure::stage(end.failure_message()));
        }
        match job.identity.purpose {
            Purpose::Seal | Purpose::Preflight => self.after_seal(job),
            Purpose::Run if !job.failed_indexes.is_empty() => self.after_failures(job, is_recorded),
            Purpose::Run | Purpose::MarkFailed => match self.seal_of(job) {
                Some(seal) => NextAction::Sealed(Box::new(seal.clone())),
                // Its workers did not seal it, or their reports are lost.
                None => self.start(Purpose::Seal, None),
            },
        }
    }

    /// Returns the report of the worker that sealed the stage.
    fn seal_of(&self, job: &ObservedJob) -> Option<&'a StageReport> {
        self.answers(job)
            .find(|report| matches!(report.outcome, Outcome::Sealed { .. }))
    }

    /// Returns reports on the whole stage of workers that succeeded.
    fn answers(&self, job: &ObservedJob) -> impl Iterator<Item = &'a StageReport> {
        self.ends(job)
            .filter(|end| end.code == Some(0))
            .filter_map(|end| end.report(&self.task.key))
            .filter(|report| report.shard.is_none())
    }

    /// Returns the latest Job that counts.
    pub fn latest(&self) -> Option<&'a Arc<ObservedJob>> {
        let counts = |job: &&&'a Arc<ObservedJob>| job.identity.attempt >= self.first_attempt;
        self.jobs.iter().rfind(counts).copied()
    }

    /// Returns the number of the next attempt.
    pub fn next_attempt(&self) -> i32 {
        let last = self.jobs.iter().map(|job| job.identity.attempt).max();
        last.map_or(self.first_attempt, |attempt| {
            self.first_attempt.max(attempt + 1)
        })
    }

    /// Whether an observed Job has computed part of the stage.
    pub fn has_run(&self) -> bool {
        let makes = |job: &&Arc<ObservedJob>| {
            matches!(job.identity.purpose, Purpose::Run | Purpose::MarkFailed)
        };
        self.jobs.iter().any(makes)
    }

    /// Returns all failed shards.
    pub fn all_failed_shards(&self) -> BTreeSet<i64> {
        let runs = self.jobs.iter().filter(|job| {
            job.identity.purpose == Purpose::Run && job.identity.attempt >= self.first_attempt
        });
        let mut shards = self.failed_shards.clone();
        shards.extend(runs.flat_map(|job| self.failed_shards_of(job)));
        shards
    }

    fn start(&self, purpose: Purpose, shard_indexes: Option<BTreeSet<i64>>) -> NextAction {
        let attempt = self.next_attempt();
        if attempt - self.first_attempt >= MAX_ATTEMPTS {
            return NextAction::Failed(Failure::stage(format!(
                "not sealed after {MAX_ATTEMPTS} attempts: the workspace's store does not return what was written, check it"
            )));
        }
        NextAction::Start(Start {
            purpose,
            attempt,
            shard_indexes,
        })
    }

    fn ends(&self, job: &ObservedJob) -> impl Iterator<Item = &'a Termination> {
        let pods = self.pods.iter().filter(|pod| pod.job == job.uid);
        pods.filter_map(|pod| pod.termination.as_ref())
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn input_corrupted(&self) -> Option<NextAction> {
        let counted = self
            .jobs
            .iter()
            .filter(|job| job.identity.attempt >= self.first_attempt);
        let mut ends = counted.flat_map(|job| self.ends(job));
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

    fn after_seal(&self, job: &ObservedJob) -> NextAction {
        if job.state != JobState::Complete {
            return self.backoff(job);
        }
        let Some(report) = self.answers(job).next() else {
            // Its report is lost; another seal has the same outcome.
            return self.start(Purpose::Seal, None);
        };
        match &report.outcome {
            Outcome::Sealed { .. } => NextAction::Sealed(Box::new(report.clone())),
            Outcome::Missing { shards, total } => self.make(shards, *total),
            _ => self.start(Purpose::Seal, None),
        }
    }

    /// Starts the Job of the shards that a seal found missing.
    fn make(&self, shards: &[i64], total: i64) -> NextAction {
        let all = self.task.shards();
        let is_one = |shard: &&i64| (0..all).contains(*shard);
        let mut missing: BTreeSet<i64> = match total >= all {
            true => (0..all).collect(),
            false => shards.iter().filter(is_one).copied().collect(),
        };
        let failed_shards = self.all_failed_shards();
        let lost: BTreeSet<i64> = missing.intersection(&failed_shards).copied().collect();
        missing.retain(|shard| !failed_shards.contains(shard));
        if missing.is_empty() && lost.is_empty() {
            return self.start(Purpose::Seal, None);
        }
        if missing.is_empty() {
            return self.start(Purpose::MarkFailed, Some(lost));
        }
        let is_all = i64::try_from(missing.len()) == Ok(all);
        self.start(Purpose::Run, (!is_all).then_some(missing))
    }

    fn after_failures(&self, job: &ObservedJob, is_recorded: impl Fn(&str) -> bool) -> NextAction {
        let shards = self.failed_shards_of(job);
        if shards.is_empty() {
            return self.backoff(job);
        }
        if is_recorded(&job.uid) {
            return self.start(Purpose::MarkFailed, Some(shards));
        }
        let message = |shard: i64| {
            let last = self.last_end(job, shard);
            last.map_or_else(
                || "its pods were deleted".into(),
                Termination::failure_message,
            )
        };
        NextAction::ShardsFailed {
            job: job.uid.clone(),
            shards: shards
                .into_iter()
                .map(|shard| (shard, message(shard)))
                .collect(),
        }
    }

    /// Returns the shards of a Job that exhausted their retry budget, without those that failed for an infrastructure reason, such as a full
    /// disk or an endpoint that does not answer.
    fn failed_shards_of(&self, job: &ObservedJob) -> BTreeSet<i64> {
        let is_infrastructure = |shard: &i64| {
            let last = self.last_end(job, *shard);
            last.and_then(|end| end.code)
                .is_some_and(is_infrastructure_failure)
        };
        let mut shards = job.failed_shards();
        shards.retain(|shard| !is_infrastructure(shard));
        shards
    }

    /// Returns the termination of the last failed pod of a Job's shard.
    fn last_end(&self, job: &ObservedJob, shard: i64) -> Option<&'a Termination> {
        let pods = self.pods.iter().filter(|pod| pod.job == job.uid);
        let of_shard = pods.filter(|pod| job.shard(pod.index) == shard);
        of_shard
            .filter_map(|pod| pod.termination.as_ref())
            .filter(|end| end.code != Some(0))
            .max_by_key(|end| end.finished_at_millis)
    }

    /// Returns an exponential backoff by the number of seals that failed in a row.
    fn backoff(&self, job: &ObservedJob) -> NextAction {
        let failed = |job: &&&&Arc<ObservedJob>| {
            job.identity.purpose == Purpose::Seal && matches!(job.state, JobState::Failed { .. })
        };
        let in_a_row = self
            .jobs
            .iter()
            .rev()
            .take_while(|job| failed(&job))
            .count();
        let in_a_row = u32::try_from(in_a_row).unwrap_or(u32::MAX);
        let backoff = INFRASTRUCTURE_BACKOFF.delay(in_a_row).as_millis();
        let backoff = i64::try_from(backoff).unwrap_or(i64::MAX);
        let last = self
            .ends(job)
            .filter(|end| end.code != Some(0))
            .max_by_key(|end| end.finished_at_millis);
        let message = match (&job.state, last) {
            (_, Some(end)) => end.failure_message(),
            (JobState::Failed { message, .. }, None) => message.clone(),
            _ => "the seal failed".into(),
        };
        NextAction::Backoff {
            retry_at_millis: job.finished_at_millis.unwrap_or(job.created_at_millis) + backoff,
            message,
        }
    }
}
