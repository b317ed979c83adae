//! The run loop: asks the planner what may run now, makes the child processes equal to the plan, waits until something
//! happens, and asks again. Every decision about the run is the planner's; here is only when to start, retry and stop.

mod verify;

mod start;

mod attempt_end;

mod report;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use scalequest_core::plan::{End, Observations, Plan, Suspension, plan};
use scalequest_core::stage_machine::{StageMachine, WorkItem};
use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::status::SynthesisRunStatus;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::accept::RunSession;
use super::attempt::{Attempt, AttemptResult};
use super::lock::Lock;
use super::machine::now_millis;
use super::progress::{Display, Event};
use super::record_file;
use super::shutdown::Shutdown;
use super::status_file::StatusFile;

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
    Suspended(Suspension),
    /// It cannot continue on this machine until a cause outside of it is gone; what failed, for users.
    Aborted(String),
}

/// A stage under way, and what is shown of it.
#[derive(Debug)]
struct StageRun {
    machine: StageMachine,
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
    task: StageTask,
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
    log: PathBuf,
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
        // For later readers.
        (outcome, self.write_status_file())
    }

    /// One iteration: plans, pins, starts and stops. Returns the outcome once nothing runs any more.
    fn step(&mut self) -> Option<RunOutcome> {
        let shutdown = *self.shutdown.borrow();
        let may_plan = shutdown == Shutdown::None && self.abort_reason.is_none();
        if may_plan && std::mem::take(&mut self.is_stale) {
            self.plan();
            if self.abort_reason.is_none() {
                self.register_stages();
                self.start_ready();
            }
        }
        let outcome = self.outcome()?;
        for worker in self.workers.values() {
            worker.request_shutdown(shutdown.max(Shutdown::Graceful));
        }
        self.workers.is_empty().then_some(outcome)
    }

    /// Has the planner decide what may run now, and stops what it does not want any more.
    fn plan(&mut self) {
        let uncharged = self.workers.values().map(WorkerProcess::uncharged);
        self.observed.running_millis = uncharged.map(millis).sum();
        let (run, record) = (&self.session.run, &self.session.record);
        let plan = plan(run, record, &self.observed, now_millis());
        if self.session.record.pin(&plan.pins) {
            self.save_or_abort();
        }
        self.stop_unplanned(&plan.start);
        self.last_plan = plan;
        self.report_status();
    }

    /// The outcome that is certain as soon as no worker runs any more; none if the run continues.
    fn outcome(&self) -> Option<RunOutcome> {
        let Plan {
            finished,
            suspended,
            ..
        } = &self.last_plan;
        let abort_reason = self.abort_reason.clone().map(RunOutcome::Aborted);
        let stopped = *self.shutdown.borrow() != Shutdown::None;
        abort_reason
            .or_else(|| finished.clone().map(RunOutcome::Ended))
            .or_else(|| suspended.map(RunOutcome::Suspended))
            .or_else(|| stopped.then_some(RunOutcome::Interrupted))
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
            self.charge_workers();
            self.save_or_abort();
        }
        self.write_status_file();
    }

    /// Charges what workers have taken since they were last charged, so that a crash of this process loses little.
    fn charge_workers(&mut self) {
        self.last_charge = Instant::now();
        for worker in self.workers.values_mut() {
            let more = worker.uncharged();
            worker.charged += more;
            let record = &mut self.session.record;
            record.add_usage(&worker.task, millis(more), 0);
        }
    }

    fn save(&self) -> Result<(), String> {
        record_file::save(&self.session.directory, &self.session.record).map_err(|error| {
            format!(
                "cannot write the run record in {}: {error}",
                self.session.directory.display()
            )
        })
    }

    fn save_or_abort(&mut self) {
        if let Err(message) = self.save() {
            self.abort_reason.get_or_insert(message);
        }
    }

    /// Stops the stages that the plan no longer wants, and forgets those that have stopped.
    fn stop_unplanned(&mut self, start: &[StageTask]) {
        for stage in &mut self.stages {
            stage.is_unplanned = !start.iter().any(|wanted| stage.computes(wanted));
        }
        for worker in self.workers.values() {
            let mut unplanned = self.stages.iter().filter(|stage| stage.is_unplanned);
            if unplanned.any(|stage| stage.task().id == worker.task.id) {
                worker.request_shutdown(Shutdown::Graceful);
            }
        }
        self.stages
            .retain(|stage| !stage.is_unplanned || stage.machine.active() > 0);
    }

    /// The file from which workers read a task.
    fn task_file(&self, task: &StageTask) -> PathBuf {
        let name = format!("{}-{}.json", task.id.file_stem(), task.key);
        self.session.directory.join("tasks").join(name)
    }

    /// An attempt with one core and no GPU, whose report and log are named for its `task`.
    fn attempt(
        &self,
        task: &StageTask,
        report: &str,
        log: &str,
        arguments: Vec<String>,
    ) -> Attempt {
        let directory = &self.session.directory;
        let key = &task.key[..task.key.len().min(8)];
        let stem = format!("{}-{key}", task.id.file_stem());
        let reports = directory.join("reports");
        let logs = directory.join("logs");
        Attempt {
            program: self.session.program.clone(),
            arguments,
            report: reports.join(format!("{stem}-{report}.json")),
            log: logs.join(format!("{stem}-{log}.log")),
            cores: 1,
            gpu: self.session.gpus.are_assigned.then(String::new),
        }
    }

    fn show(&mut self, event: &Event) {
        self.display.show(event);
    }

    fn warn(&mut self, message: String) {
        self.show(&Event::Warning { message });
    }
}

impl StageRun {
    fn task(&self) -> &StageTask {
        self.machine.task()
    }

    /// Whether it computes this task: the same stage with the same content.
    fn computes(&self, task: &StageTask) -> bool {
        self.task().id == task.id && self.task().key == task.key
    }
}

impl WorkerProcess {
    /// The time for which it is not charged yet.
    fn uncharged(&self) -> Duration {
        self.started_at.elapsed().saturating_sub(self.charged)
    }

    /// Requests the worker's shutdown, or a more urgent one.
    fn request_shutdown(&self, how: Shutdown) {
        // A seal is short and saves nothing on its way.
        let how = match self.item {
            WorkItem::Seal => Shutdown::Immediate,
            _ => how,
        };
        self.shutdown
            .send_if_modified(|now| std::mem::replace(now, how.max(*now)) < how);
    }

    fn is_shutting_down(&self) -> bool {
        *self.shutdown.borrow() != Shutdown::None
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
