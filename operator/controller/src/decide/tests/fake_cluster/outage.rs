//! Outages of a fake cluster: what fails the workers of a stage for some time.

use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::protocol::exit_codes::worker::of_cause;
use scalequest_crds::protocol::report::{Outcome, StageReport};
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Stage;

use super::fake_worker::FakeEnd;
use crate::names::Purpose;
use crate::observe::job::ObservedJob;
use crate::observe::termination::TerminationMessage;

/// How a worker fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// It reports a cause.
    Reports(Cause, &'static str),
    /// It ends with an exit code and no report.
    Exits(i32),
    /// The kernel kills it for its memory.
    OutOfMemory,
    /// The kubelet refuses its pod.
    NeverRuns,
    /// Its pod is evicted.
    Evicted,
}

/// An outage.
#[derive(Clone, Debug)]
pub struct Outage {
    /// Whose workers it fails.
    pub stage: Stage,
    /// How.
    pub failure: FailureKind,
    /// When it is over, in milliseconds since 1970; `None`: with the first failure of each shard.
    pub until_millis: Option<i64>,
    /// Failures of workers that compute.
    pub attempts: usize,
    /// When it failed a worker first.
    pub since_millis: Option<i64>,
    once: std::collections::BTreeSet<(String, i64)>,
}

impl Outage {
    /// An outage that begins with the first worker of `stage`.
    pub fn new(stage: Stage, failure: FailureKind) -> Outage {
        Outage {
            stage,
            failure,
            until_millis: None,
            attempts: 0,
            since_millis: None,
            once: Default::default(),
        }
    }

    /// Returns how it fails a worker, if it does.
    pub fn fail(
        &mut self,
        task: &StageTask,
        job: &ObservedJob,
        index: i64,
        now_millis: i64,
    ) -> Option<FakeEnd> {
        let computes = matches!(job.identity.purpose, Purpose::Run | Purpose::Probe);
        if task.id.stage != self.stage || !computes {
            return None;
        }
        let is_over = match self.until_millis {
            Some(until) => now_millis >= until,
            None => !self.once.insert((task.key.clone(), job.shard(index))),
        };
        if is_over {
            return None;
        }
        self.since_millis.get_or_insert(now_millis);
        self.attempts += usize::from(job.identity.purpose == Purpose::Run);
        Some(self.end(task, job.shard(index)))
    }

    fn end(&self, task: &StageTask, shard: i64) -> FakeEnd {
        let silent = |code| FakeEnd::new(code, TerminationMessage::LogTail(String::new()));
        match self.failure {
            FailureKind::Reports(cause, message) => {
                let message = message.to_string();
                let report = StageReport {
                    stage: task.id.stage,
                    key: task.key.clone(),
                    shard: Some(shard),
                    outcome: Outcome::Transient { cause, message },
                    counts: Default::default(),
                    histograms: vec![],
                    backends: vec![],
                    worker_millis: 1,
                    gpu_millis: 0,
                    warnings: vec![],
                };
                let message = TerminationMessage::Report(Box::new(report));
                FakeEnd::new(of_cause(cause), message)
            }
            FailureKind::Exits(code) => silent(code),
            FailureKind::OutOfMemory => FakeEnd {
                is_out_of_memory: true,
                ..silent(137)
            },
            FailureKind::NeverRuns => FakeEnd {
                code: None,
                ..silent(0)
            },
            FailureKind::Evicted => FakeEnd {
                is_disrupted: true,
                ..silent(137)
            },
        }
    }
}
