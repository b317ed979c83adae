//! A stage of a run in the cluster: the ends of its Jobs' pods go through [`StageMachine`], and what it asks for next becomes the next Job. The
//! state is in the Jobs and the record alone, so an operator that starts anew computes the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::protocol::report::StageReport;
use scalequest_crds::protocol::shard_set::ShardSet;
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Stage;

use super::ReconcileInput;
use crate::names::{JobIdentity, Purpose};
use crate::observe::OwnedObjects;
use crate::observe::job::{JobState, ObservedJob};
use crate::observe::pod::ObservedPod;
use scalequest_core::record::{Failure, RunRecord};
use scalequest_core::stage_machine::{
    AttemptEnd, Blocked, CorruptInput, FailureClass, FailureLimits, StageMachine, Transition,
    WorkItem,
};
use scalequest_core::validate::ValidRun;

/// A stage with its Jobs.
#[derive(Clone, Debug)]
pub struct StageJobs<'a> {
    task: &'a StageTask,
    owned: &'a OwnedObjects,
    /// Its Jobs, oldest attempt first.
    pub jobs: Vec<&'a Arc<ObservedJob>>,
    /// The first attempt that counts.
    first_attempt: i32,
    machine: StageMachine,
    found: Found,
}

/// What the ends of its pods say, each the first that was found.
#[derive(Clone, Debug, Default)]
struct Found {
    corrupt: Option<CorruptInput>,
    failure: Option<Failure>,
    seal: Option<Box<StageReport>>,
    /// The latest transient failure.
    transient: Option<Blocked>,
    /// Failed shards of Jobs whose usage is not counted yet, with messages.
    failed_shards: BTreeMap<i64, String>,
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
    /// Start a Job later: the latest attempts failed.
    Backoff {
        /// When, in milliseconds since 1970.
        retry_at_millis: i64,
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
    /// Record that something outside of the stage blocks it, and the failed shards: its Jobs are then deleted.
    Blocked {
        /// What blocks it.
        blocked: Blocked,
        /// Failed shards with messages.
        failed_shards: BTreeMap<i64, String>,
    },
    /// Record that an earlier stage's output is corrupt.
    InputCorrupted(CorruptInput),
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
    /// Selects the Jobs of the stage of `task`, and replays the ends of their pods.
    pub fn new(
        input: &ReconcileInput<'a>,
        run: &ValidRun,
        record: &RunRecord,
        task: &'a StageTask,
    ) -> StageJobs<'a> {
        let identity = identity_of(task);
        let jobs = input.owned.jobs.iter();
        let failed_shards = record.failed_shards.iter();
        let failed_shards = failed_shards.filter(|each| each.key == task.key);
        let limits = FailureLimits {
            shard_retries: input.settings.shard_retries,
            max_failed_percent: i64::from(run.limits().max_failed_shards_percent),
        };
        let shards = failed_shards.map(|each| each.shard).collect();
        let machine = StageMachine::new(task.clone(), limits, shards);
        let first_attempt = record.first_attempt(&task.key);
        // The dataset lies outside of the workspace and may be gone; what reads a new output cannot be in the workspace.
        let is_new = task.id.stage == Stage::Publish || record.is_new(task) && first_attempt == 0;
        let mut stage = StageJobs {
            task,
            owned: input.owned,
            jobs: jobs
                .filter(|job| {
                    job.identity.same_stage(&identity) && job.identity.purpose.is_attempt()
                })
                .collect(),
            first_attempt,
            machine: if is_new { machine.run_first() } else { machine },
            found: Found::default(),
        };
        for job in stage.counted().cloned().collect::<Vec<_>>() {
            stage.replay(&job, record.counted.jobs.contains(&job.uid));
        }
        stage
    }

    /// Returns the next action.
    pub fn next_action(&self, now_millis: i64) -> NextAction {
        let Found {
            corrupt,
            failure,
            seal,
            transient,
            failed_shards,
        } = &self.found;
        if self.jobs.iter().any(|job| job.is_terminating) {
            return NextAction::Wait;
        }
        if let Some(corrupt) = corrupt {
            return NextAction::InputCorrupted(corrupt.clone());
        }
        if let (Some(blocked), None, None) = (transient, failure, seal)
            && self.machine.is_blocked()
        {
            return NextAction::Blocked {
                blocked: blocked.clone(),
                failed_shards: failed_shards.clone(),
            };
        }
        let latest = self.latest();
        if latest.is_some_and(|job| !job.has_ended()) {
            return NextAction::Wait;
        }
        if let Some(job) = latest.filter(|_| !failed_shards.is_empty()) {
            return NextAction::ShardsFailed {
                job: job.clone(),
                shards: failed_shards.clone(),
            };
        }
        if let Some(failure) = failure {
            return NextAction::Failed(failure.clone());
        }
        if let Some(seal) = seal {
            return NextAction::Sealed(seal.clone());
        }
        let retry_at_millis = self.machine.next_start().unwrap_or(0);
        if retry_at_millis > now_millis {
            return NextAction::Backoff { retry_at_millis };
        }
        self.start()
    }

    /// Returns what fails the attempts since the last progress, if something outside of the stage does.
    pub fn transient(&self) -> Option<&Blocked> {
        let (cause, _) = self.machine.streak()?;
        let transient = self.found.transient.as_ref();
        transient.filter(|transient| transient.cause == cause)
    }

    /// Whether an attempt that counts has committed something.
    pub fn has_progressed(&self) -> bool {
        self.machine.has_progressed()
    }

    /// Returns all failed shards.
    pub fn all_failed_shards(&self) -> &BTreeSet<i64> {
        self.machine.failed_shards()
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

    /// Returns the Jobs that count, oldest attempt first.
    fn counted(&self) -> impl DoubleEndedIterator<Item = &'a Arc<ObservedJob>> + use<'a, '_> {
        let jobs = self.jobs.iter().copied();
        jobs.filter(|job| job.identity.attempt >= self.first_attempt)
    }

    /// Starts the Job of what the machine asks for. Every item may start: the Job controller has a backoff of its own for each.
    fn start(&self) -> NextAction {
        let items = self.machine.ready(i64::MAX);
        let shards = |wanted: fn(&WorkItem) -> bool| -> ShardSet {
            let items = items.iter().filter(|item| wanted(item));
            items.filter_map(|item| item.shard()).collect()
        };
        let missing = shards(|item| matches!(item, WorkItem::Shard(_)));
        let failed = shards(|item| matches!(item, WorkItem::MarkFailed(_)));
        let is_all = i64::try_from(missing.len()) == Ok(self.task.shards());
        let (purpose, shard_indexes) = match (missing.is_empty(), failed.is_empty()) {
            (false, _) => (Purpose::Run, Some(missing).filter(|_| !is_all)),
            (true, false) => (Purpose::MarkFailed, Some(failed)),
            (true, true) => (Purpose::Seal, None),
        };
        let identity = JobIdentity {
            purpose,
            attempt: self.next_attempt(),
            ..identity_of(self.task)
        };
        NextAction::Start {
            identity,
            shard_indexes,
        }
    }

    /// Replays what is observed of a Job. `is_on_record`: whether its failed shards are.
    fn replay(&mut self, job: &ObservedJob, is_on_record: bool) {
        let item_of = |index: i64| match job.identity.purpose {
            Purpose::Run => WorkItem::Shard(job.shard(index)),
            Purpose::MarkFailed => WorkItem::MarkFailed(job.shard(index)),
            Purpose::Seal | Purpose::Preflight | Purpose::Probe => WorkItem::Seal,
        };
        let mut pods: Vec<&Arc<ObservedPod>> = self.owned.pods_of(job).collect();
        let ended_at = |pod: &ObservedPod| {
            let end = pod.termination.as_ref();
            end.map_or(i64::MAX, |end| end.finished_at_millis)
        };
        pods.sort_by_key(|pod| ended_at(pod));
        let mut observed = BTreeSet::new();
        let running = pods.iter().filter(|pod| pod.is_running());
        let running: BTreeSet<i64> = running.map(|pod| pod.index).collect();
        // All that run are under way before the first of them ends.
        for index in &running {
            self.machine.begin_attempt(item_of(*index));
        }
        for pod in pods.iter().filter(|pod| pod.termination.is_some()) {
            let item = item_of(pod.index);
            if let Some(end) = pod.attempt_end(&self.task.key) {
                self.machine.begin_attempt(item);
                self.end(item, end, ended_at(pod), is_on_record);
                observed.insert(pod.index);
            }
        }
        if !job.has_ended() {
            return;
        }
        let at = job.finished_at_millis.unwrap_or(job.created_at_millis);
        for index in 0..i64::from(job.completions) {
            let item = item_of(index);
            if job.failed_indexes.contains(&index) && !observed.contains(&index) {
                let message = "its pods were deleted".into();
                self.end(item, lost(FailureClass::Shard, message), at, is_on_record);
            } else if job.state == JobState::Complete && !observed.contains(&index) {
                self.machine.begin_attempt(item);
                self.end(item, completed(item), at, is_on_record);
            } else if running.contains(&index) {
                self.machine.interrupt_attempt(item);
            }
        }
        let is_unexplained = observed.is_empty() && job.failed_indexes.is_empty();
        if let (JobState::Failed { message }, true) = (&job.state, is_unexplained) {
            // Neither pods nor indexes say why.
            let class = FailureClass::Transient(Cause::StartFailed);
            self.end(item_of(0), lost(class, message.clone()), at, is_on_record);
        }
    }

    fn end(&mut self, item: WorkItem, end: AttemptEnd, at: i64, is_on_record: bool) {
        let (class, message) = match &end {
            AttemptEnd::Failed { class, message } => (Some(*class), message.clone()),
            _ => (None, String::new()),
        };
        if let Some(FailureClass::Transient(cause)) = class {
            let message = message.clone();
            self.found.transient = Some(Blocked { cause, message });
        }
        match self.machine.end_attempt(item, end, at) {
            Transition::InputCorrupted(corrupt) => drop(self.found.corrupt.get_or_insert(corrupt)),
            Transition::Sealed(report) => self.found.seal = Some(report),
            Transition::Blocked(blocked) => self.found.transient = Some(blocked),
            Transition::ShardFailed => self.note_failed_shard(item, message, is_on_record),
            Transition::Failed(failure) => {
                if self.is_failed(item) {
                    self.note_failed_shard(item, message, is_on_record);
                }
                self.found.failure.get_or_insert(failure);
            }
            Transition::Continue | Transition::Retry(_) | Transition::FoundMissing(_) => {}
        }
    }

    fn is_failed(&self, item: WorkItem) -> bool {
        let failed = self.machine.failed_shards();
        item.shard().is_some_and(|shard| failed.contains(&shard))
    }

    fn note_failed_shard(&mut self, item: WorkItem, message: String, is_on_record: bool) {
        if let Some(shard) = item.shard().filter(|_| !is_on_record) {
            self.found.failed_shards.insert(shard, message);
        }
    }
}

/// An attempt of which only the Job says that it failed.
fn lost(class: FailureClass, message: String) -> AttemptEnd {
    AttemptEnd::Failed { class, message }
}

/// An attempt of which only the Job says that it succeeded: a seal's report is lost with it, and another seal has the same outcome.
fn completed(item: WorkItem) -> AttemptEnd {
    match item {
        WorkItem::Seal => AttemptEnd::Interrupted,
        _ => AttemptEnd::Committed { reused: false },
    }
}
