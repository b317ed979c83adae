//! A stage under way, read off its Jobs: what it waits for, or what is to be started next. The flow is that of one machine: a seal finds
//! what the workspace may hold already, what it misses is made, what cannot be made is given up, and the stage is sealed: by the worker of
//! its last shard, or by a Job of its own. Jobs tell all of it, so that nothing but they and the record needs to be remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use scalequest_crds::protocol::exit_codes::worker::{
    TASK_FAILED_PERMANENTLY, is_infrastructure_failure,
};
use scalequest_crds::protocol::report::{Outcome, StageReport};
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Stage;

use crate::names::{Purpose, Work};
use crate::observe::job::{JobState, SeenJob};
use crate::observe::pod::{PodEnd, SeenPod};
use scalequest_core::record::Failure;
use scalequest_core::retry::INFRASTRUCTURE_BACKOFF;

/// Rounds after which a stage that does not come to an end has failed.
const ROUNDS: i32 = 200;

/// A stage with what was started for it.
#[derive(Clone, Debug)]
pub struct Stages<'a> {
    /// What it does.
    pub task: &'a StageTask,
    /// Its Jobs, oldest round first.
    pub jobs: Vec<&'a Arc<SeenJob>>,
    /// Pods of these Jobs.
    pub pods: Vec<&'a Arc<SeenPod>>,
    /// The round from which on its Jobs count.
    pub first_round: i32,
    /// Shards that were given up, as far as they are on record.
    pub given_up: BTreeSet<i64>,
    /// Whether nothing of it can be in the workspace: an input has just been made by this very run.
    pub is_new: bool,
}

/// What a stage needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Look {
    /// Nothing now: a Job is at work or on its way out.
    Wait,
    /// This work.
    Start(Start),
    /// Time: workers fail for a reason outside the run.
    Later {
        /// When to go on, in milliseconds since 1970.
        at_millis: i64,
        /// What they say.
        message: String,
    },
    /// It is sealed: to be taken up into the record.
    Sealed(Box<StageReport>),
    /// Shards were given up: to be noted, with what their workers said, before [`Stages::look`] is asked again.
    ShardsFailed {
        /// Uid of the Job that gave them up.
        job: String,
        /// Shard and message.
        shards: BTreeMap<i64, String>,
    },
    /// An earlier stage's output is damaged.
    InputCorrupted {
        /// Content key of that stage.
        key: String,
        /// Which stage.
        stage: Stage,
        /// What is wrong.
        message: String,
    },
    /// It can never work.
    Failed(Failure),
}

/// Work to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// What for.
    pub purpose: Purpose,
    /// The round.
    pub round: i32,
    /// The shards; all where there is none.
    pub among: Option<BTreeSet<i64>>,
}

/// The work of `task` in general, at round 0.
pub fn work_of(task: &StageTask) -> Work {
    Work {
        purpose: Purpose::Seal,
        id: Some(task.id.clone()),
        key: task.key.clone(),
        round: 0,
    }
}

impl<'a> Stages<'a> {
    /// The stage of `task`, with what of `jobs` and `pods` belongs to it.
    pub fn new(
        task: &'a StageTask,
        jobs: &'a [Arc<SeenJob>],
        pods: &'a [Arc<SeenPod>],
        first_round: i32,
        given_up: BTreeSet<i64>,
        is_new: bool,
    ) -> Stages<'a> {
        let work = work_of(task);
        let jobs: Vec<_> = jobs
            .iter()
            .filter(|job| job.work.same_stage(&work))
            .collect();
        let is_ours = |pod: &&Arc<SeenPod>| jobs.iter().any(|job| job.uid == pod.job);
        let pods = pods.iter().filter(is_ours).collect();
        Stages {
            task,
            jobs,
            pods,
            first_round,
            given_up,
            is_new,
        }
    }

    /// What the stage needs. `noted`: whether what a Job with this uid gave up is on record.
    pub fn look(&self, noted: impl Fn(&str) -> bool) -> Look {
        if self.jobs.iter().any(|job| job.is_leaving) {
            return Look::Wait;
        }
        if let Some(damaged) = self.input_corrupted() {
            return damaged;
        }
        let Some(job) = self.latest() else {
            // What a publication wrote outside the workspace may be gone: it is made again.
            let is_made =
                self.task.id.stage == Stage::Publish || self.is_new && self.first_round == 0;
            let purpose = if is_made { Purpose::Run } else { Purpose::Seal };
            return self.start(purpose, None);
        };
        if !job.has_ended() {
            return Look::Wait;
        }
        if let Some(end) = self
            .ends(job)
            .find(|end| end.code == Some(TASK_FAILED_PERMANENTLY))
        {
            return Look::Failed(Failure::stage(end.message()));
        }
        match job.work.purpose {
            Purpose::Seal | Purpose::Inspect => self.after_seal(job),
            Purpose::Run if !job.failed_indexes.is_empty() => self.after_failures(job, noted),
            Purpose::Run | Purpose::GiveUp => match self.seal_of(job) {
                Some(seal) => Look::Sealed(Box::new(seal.clone())),
                // Its workers left it, or their words are lost.
                None => self.start(Purpose::Seal, None),
            },
        }
    }

    /// What the worker said that sealed the stage.
    fn seal_of(&self, job: &SeenJob) -> Option<&'a StageReport> {
        self.answers(job)
            .find(|report| matches!(report.outcome, Outcome::Sealed { .. }))
    }

    /// What workers that ended well said of the whole stage.
    fn answers(&self, job: &SeenJob) -> impl Iterator<Item = &'a StageReport> {
        self.ends(job)
            .filter(|end| end.code == Some(0))
            .filter_map(|end| end.report(&self.task.key))
            .filter(|report| report.shard.is_none())
    }

    /// The latest Job that counts.
    pub fn latest(&self) -> Option<&'a Arc<SeenJob>> {
        let counts = |job: &&&'a Arc<SeenJob>| job.work.round >= self.first_round;
        self.jobs.iter().rfind(counts).copied()
    }

    /// The round after all that were.
    pub fn next_round(&self) -> i32 {
        let last = self.jobs.iter().map(|job| job.work.round).max();
        last.map_or(self.first_round, |round| self.first_round.max(round + 1))
    }

    /// Whether any worker has made part of the stage, as far as can be seen.
    pub fn has_run(&self) -> bool {
        let makes =
            |job: &&Arc<SeenJob>| matches!(job.work.purpose, Purpose::Run | Purpose::GiveUp);
        self.jobs.iter().any(makes)
    }

    /// Every shard that was given up.
    pub fn all_given_up(&self) -> BTreeSet<i64> {
        let runs = self
            .jobs
            .iter()
            .filter(|job| job.work.purpose == Purpose::Run && job.work.round >= self.first_round);
        let mut shards = self.given_up.clone();
        shards.extend(runs.flat_map(|job| self.given_up_by(job)));
        shards
    }

    fn start(&self, purpose: Purpose, among: Option<BTreeSet<i64>>) -> Look {
        let round = self.next_round();
        if round - self.first_round >= ROUNDS {
            return Look::Failed(Failure::stage(format!(
                "it did not come to an end in {ROUNDS} attempts: what it writes does not stay as it was written, look at the workspace's store"
            )));
        }
        Look::Start(Start {
            purpose,
            round,
            among,
        })
    }

    fn ends(&self, job: &SeenJob) -> impl Iterator<Item = &'a PodEnd> {
        let pods = self.pods.iter().filter(|pod| pod.job == job.uid);
        pods.filter_map(|pod| pod.ended.as_ref())
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn input_corrupted(&self) -> Option<Look> {
        let counted = self
            .jobs
            .iter()
            .filter(|job| job.work.round >= self.first_round);
        let mut ends = counted.flat_map(|job| self.ends(job));
        ends.find_map(|end| match &end.report(&self.task.key)?.outcome {
            Outcome::InputCorrupted {
                stage,
                key,
                message,
            } => Some(Look::InputCorrupted {
                key: key.clone(),
                stage: *stage,
                message: message.clone(),
            }),
            _ => None,
        })
    }

    fn after_seal(&self, job: &SeenJob) -> Look {
        if job.state != JobState::Complete {
            return self.pause(job);
        }
        let Some(report) = self.answers(job).next() else {
            // Its report is lost; sealing again has the same answer.
            return self.start(Purpose::Seal, None);
        };
        match &report.outcome {
            Outcome::Sealed { .. } => Look::Sealed(Box::new(report.clone())),
            Outcome::Missing { shards, total } => self.make(shards, *total),
            _ => self.start(Purpose::Seal, None),
        }
    }

    /// Starts what a seal has missed.
    fn make(&self, shards: &[i64], total: i64) -> Look {
        let all = self.task.shards();
        let is_one = |shard: &&i64| (0..all).contains(*shard);
        let mut missing: BTreeSet<i64> = match total >= all {
            true => (0..all).collect(),
            false => shards.iter().filter(is_one).copied().collect(),
        };
        let given_up = self.all_given_up();
        let lost: BTreeSet<i64> = missing.intersection(&given_up).copied().collect();
        missing.retain(|shard| !given_up.contains(shard));
        if missing.is_empty() && lost.is_empty() {
            return self.start(Purpose::Seal, None);
        }
        if missing.is_empty() {
            return self.start(Purpose::GiveUp, Some(lost));
        }
        let is_all = i64::try_from(missing.len()) == Ok(all);
        self.start(Purpose::Run, (!is_all).then_some(missing))
    }

    fn after_failures(&self, job: &SeenJob, noted: impl Fn(&str) -> bool) -> Look {
        let shards = self.given_up_by(job);
        if shards.is_empty() {
            return self.pause(job);
        }
        if noted(&job.uid) {
            return self.start(Purpose::GiveUp, Some(shards));
        }
        let message = |shard: i64| {
            let last = self.last_end(job, shard);
            last.map_or_else(|| "its pods are gone".into(), PodEnd::message)
        };
        Look::ShardsFailed {
            job: job.uid.clone(),
            shards: shards
                .into_iter()
                .map(|shard| (shard, message(shard)))
                .collect(),
        }
    }

    /// The shards that a Job gave up and that are to blame for it: a full disk, or a silent endpoint, is no shard's fault.
    fn given_up_by(&self, job: &SeenJob) -> BTreeSet<i64> {
        let is_not_to_blame = |shard: &i64| {
            let last = self.last_end(job, *shard);
            last.and_then(|end| end.code)
                .is_some_and(is_infrastructure_failure)
        };
        let mut shards = job.failed_shards();
        shards.retain(|shard| !is_not_to_blame(shard));
        shards
    }

    /// How the last failed attempt of a Job at a shard ended.
    fn last_end(&self, job: &SeenJob, shard: i64) -> Option<&'a PodEnd> {
        let pods = self.pods.iter().filter(|pod| pod.job == job.uid);
        let of_shard = pods.filter(|pod| job.shard(pod.index) == shard);
        of_shard
            .filter_map(|pod| pod.ended.as_ref())
            .filter(|end| end.code != Some(0))
            .max_by_key(|end| end.at_millis)
    }

    /// Waits longer the more seals in a row have failed.
    fn pause(&self, job: &SeenJob) -> Look {
        let failed = |job: &&&&Arc<SeenJob>| {
            job.work.purpose == Purpose::Seal && matches!(job.state, JobState::Failed { .. })
        };
        let in_a_row = self
            .jobs
            .iter()
            .rev()
            .take_while(|job| failed(&job))
            .count();
        let in_a_row = u32::try_from(in_a_row).unwrap_or(u32::MAX);
        let pause = INFRASTRUCTURE_BACKOFF.delay(in_a_row).as_millis();
        let pause = i64::try_from(pause).unwrap_or(i64::MAX);
        let last = self
            .ends(job)
            .filter(|end| end.code != Some(0))
            .max_by_key(|end| end.at_millis);
        let message = match (&job.state, last) {
            (_, Some(end)) => end.message(),
            (JobState::Failed { message, .. }, None) => message.clone(),
            _ => "its seal failed".into(),
        };
        Look::Later {
            at_millis: job.ended_millis.unwrap_or(job.made_millis) + pause,
            message,
        }
    }
}
