//! The run loop: asks the planner what may run now, makes the child processes equal to the plan, waits until something
//! happens, and asks again. Every decision about the run is the planner's; here is only when to start, retry and stop.

mod verify;

mod start;

mod attempt_end;

mod report;

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use crate::status_file::StatusFile;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::StageId;
use scalequest_crds::v1alpha1::status::SynthesisRunStatus;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::accept::RunSession;
use super::attempt::AttemptResult;
use super::lock::Lock;
use super::machine::now_millis;
use super::progress::{Display, Event};
use super::record_file;
use super::shutdown::Shutdown;
use super::stage_state::{StageState, WorkItem};
use scalequest_core::plan::{End, Observations, Plan, plan};

/// Interval of deadlines, retries and the status file.
const TICK: Duration = Duration::from_secs(1);

/// The outcome of a run loop.
#[derive(Clone, Debug, PartialEq)]
pub enum RunOutcome {
    /// It is over.
    Ended(End),
    /// A user stopped it.
    Interrupted,
    /// It is suspended; why.
    Suspended(String),
    /// It cannot continue on this machine; for users.
    Aborted(String),
}

/// A stage under way, and what is shown of it.
#[derive(Debug)]
struct StageRun {
    state: StageState,
    name: StageId,
    lock: Option<Lock>,
    has_reported_wait: bool,
    started_at: Instant,
    /// Workers were asked to stop because the plan no longer wants the stage.
    is_unplanned: bool,
    reported_at: Option<Instant>,
    /// Where rates are counted from: when the first progress came, and how much was done by then.
    baseline: Option<(Instant, i64, i64)>,
    /// Tokens of shards that are done.
    tokens: i64,
}

/// A worker under way: a child process.
#[derive(Debug)]
struct WorkerProcess {
    key: String,
    name: StageId,
    item: WorkItem,
    number: u32,
    cores: usize,
    memory: i64,
    /// Which of the session's GPUs it holds.
    gpu: Option<usize>,
    started_at: Instant,
    charged: Duration,
    progress: Progress,
    shutdown: watch::Sender<Shutdown>,
    log: String,
}

/// Both ends of a channel.
type Channel<T> = (mpsc::UnboundedSender<T>, mpsc::UnboundedReceiver<T>);

/// The state of a run under way.
pub struct RunLoop {
    session: RunSession,
    display: Box<dyn Display>,
    shutdown: watch::Receiver<Shutdown>,
    stages: Vec<StageRun>,
    workers: BTreeMap<u64, WorkerProcess>,
    next_id: u64,
    attempts: JoinSet<(u64, io::Result<AttemptResult>)>,
    progress_channel: Channel<(u64, Progress)>,
    observed: Observations,
    /// How often each stage's output was found corrupt.
    corruptions: BTreeMap<String, u32>,
    /// Why the run cannot continue on this machine.
    abort_reason: Option<String>,
    last_plan: Plan,
    last_charge: Instant,
    reported_accepted: Option<i64>,
    /// The conditions that were shown last.
    conditions: Vec<Condition>,
    /// Whether something happened that a plan may depend on.
    is_stale: bool,
}

impl RunLoop {
    /// A run loop for `session` that shows events on `display` and ends at `shutdown`.
    pub fn new(
        session: RunSession,
        display: Box<dyn Display>,
        shutdown: watch::Receiver<Shutdown>,
    ) -> RunLoop {
        let conditions = StatusFile::read(&session.directory)
            .map(|status_file| status_file.status.conditions)
            .unwrap_or_default();
        RunLoop {
            session,
            display,
            shutdown,
            stages: Vec::new(),
            workers: BTreeMap::new(),
            next_id: 0,
            attempts: JoinSet::new(),
            progress_channel: mpsc::unbounded_channel(),
            observed: Observations::default(),
            corruptions: BTreeMap::new(),
            abort_reason: None,
            last_plan: Plan::default(),
            last_charge: Instant::now(),
            reported_accepted: None,
            conditions,
            is_stale: true,
        }
    }

    /// Runs until the run is over, is stopped, or cannot continue; returns the outcome and the last status.
    pub async fn run(mut self) -> (RunOutcome, SynthesisRunStatus) {
        self.report_start();
        self.wait_for_orphans().await;
        self.verify_finished_stages().await;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let outcome = loop {
            if let Some(outcome) = self.step() {
                break outcome;
            }
            self.wait(&mut tick).await;
        };
        let outcome = self.save().err().map_or(outcome, RunOutcome::Aborted);
        (outcome, self.finish())
    }

    /// One iteration: plans, pins, starts and stops. Returns the outcome once nothing runs any more.
    fn step(&mut self) -> Option<RunOutcome> {
        let stopped = *self.shutdown.borrow() != Shutdown::None;
        if !stopped && self.abort_reason.is_none() && std::mem::take(&mut self.is_stale) {
            self.observed.running_millis = self.uncharged_millis();
            let plan = plan(
                &self.session.run,
                &self.session.record,
                &self.observed,
                now_millis(),
            );
            if self.session.record.pin(&plan.pins) {
                self.save_or_abort();
            }
            self.stop_unplanned(&plan.start);
            self.last_plan = plan;
            self.report_status();
            if self.abort_reason.is_none() {
                self.register_stages();
                self.start_ready();
            }
        }
        if stopped
            || self.abort_reason.is_some()
            || self.last_plan.finished.is_some()
            || self.last_plan.suspended.is_some()
        {
            self.shut_down_workers(if *self.shutdown.borrow() == Shutdown::Immediate {
                Shutdown::Immediate
            } else {
                Shutdown::Graceful
            });
            if self.workers.is_empty() {
                let plan = &self.last_plan;
                let planned = || {
                    plan.finished
                        .clone()
                        .map(RunOutcome::Ended)
                        .or_else(|| plan.suspended.clone().map(RunOutcome::Suspended))
                };
                let abort_reason = self.abort_reason.clone().map(RunOutcome::Aborted);
                return abort_reason
                    .or_else(planned)
                    .or(stopped.then_some(RunOutcome::Interrupted));
            }
        }
        None
    }

    /// Waits until something happens, and handles it.
    async fn wait(&mut self, tick: &mut tokio::time::Interval) {
        let mut is_stale = true;
        tokio::select! {
            Some(joined) = self.attempts.join_next() => match joined {
                Ok((id, result)) => self.attempt_ended(id, result),
                Err(error) => self.abort_reason = Some(format!("a worker's watcher failed: {error}")),
            },
            Some((id, progress)) = self.progress_channel.1.recv() => {
                self.progressed(id, progress);
                is_stale = false;
            }
            Ok(()) = self.shutdown.changed() => self.report_stopping(),
            _ = tick.tick() => self.ticked(),
        }
        self.is_stale |= is_stale;
    }

    fn ticked(&mut self) {
        const CHARGE_EVERY: Duration = Duration::from_secs(10);
        if self.last_charge.elapsed() >= CHARGE_EVERY && !self.workers.is_empty() {
            self.charge_running();
            self.save_or_abort();
        }
        self.write_status_file();
    }

    /// Charges what running workers have taken since they were last charged, so that a crash of this process loses little.
    fn charge_running(&mut self) {
        self.last_charge = Instant::now();
        for worker in self.workers.values_mut() {
            let total = worker.started_at.elapsed();
            let more = total.saturating_sub(worker.charged);
            worker.charged = total;
            if let Some(stage) = self
                .stages
                .iter()
                .find(|stage| stage.state.task().key == worker.key && stage.name == worker.name)
            {
                self.session
                    .record
                    .add_usage(stage.state.task(), millis(more), 0);
            }
        }
    }

    fn uncharged_millis(&self) -> i64 {
        self.workers
            .values()
            .map(|worker| millis(worker.started_at.elapsed().saturating_sub(worker.charged)))
            .sum()
    }

    fn save(&self) -> Result<(), String> {
        record_file::save(&self.session.directory, &self.session.record).map_err(|error| {
            format!(
                "cannot write the run record in {}: {error}; nothing is lost: fix that (a full disk?), then run the same command again to resume",
                self.session.directory.display()
            )
        })
    }

    fn save_or_abort(&mut self) {
        if let Err(message) = self.save() {
            self.abort_reason.get_or_insert(message);
        }
    }

    /// Requests the shutdown of every worker.
    fn shut_down_workers(&mut self, how: Shutdown) {
        for worker in self.workers.values() {
            worker.request_shutdown(how);
        }
    }

    /// Stops the stages that the plan no longer wants, and forgets those that have stopped.
    fn stop_unplanned(&mut self, start: &[StageTask]) {
        for stage in &mut self.stages {
            let task = stage.state.task();
            stage.is_unplanned = !start
                .iter()
                .any(|wanted| wanted.key == task.key && wanted.id == stage.name);
        }
        for worker in self.workers.values() {
            if self
                .stages
                .iter()
                .any(|stage| stage.is_unplanned && stage.name == worker.name)
            {
                worker.request_shutdown(Shutdown::Graceful);
            }
        }
        self.stages
            .retain(|stage| !stage.is_unplanned || stage.state.active() > 0);
    }

    fn show(&mut self, event: &Event) {
        self.display.show(event);
    }

    fn warn(&mut self, message: String) {
        self.show(&Event::Warning { message });
    }
}

impl WorkerProcess {
    /// Requests the worker's shutdown, or a more urgent one.
    fn request_shutdown(&self, how: Shutdown) {
        // A seal is short and saves nothing on its way.
        let how = if self.item == WorkItem::Seal {
            how.max(Shutdown::Immediate)
        } else {
            how
        };
        self.shutdown.send_if_modified(|now| {
            let raised = *now < how;
            *now = how.max(*now);
            raised
        });
    }

    fn is_shutting_down(&self) -> bool {
        *self.shutdown.borrow() != Shutdown::None
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
