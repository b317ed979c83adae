//! Drives a run: asks the planner what may run now, makes the child processes equal to the answer, waits until something
//! happens, and asks again. Every decision about the run is the planner's; here is only when to start, repeat and stop.

mod check;

mod start;

mod ended;

mod tell;

pub mod live;

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use live::Live;
use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::StageId;
use scalequest_crds::v1alpha1::status::SynthesisRunStatus;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::accept::Session;
use super::attempt::Ended;
use super::lock::Lock;
use super::machine::now_millis;
use super::progress::{Display, Event};
use super::record_file;
use super::stage_work::{Job, StageWork};
use super::stop::Stop;
use scalequest_core::plan::{End, Observations, Plan, plan};

/// Time between two looks at the clock: deadlines, retries, status file.
const TICK: Duration = Duration::from_secs(1);

/// How a run was left.
#[derive(Clone, Debug, PartialEq)]
pub enum Left {
    /// It is over.
    Ended(End),
    /// A person stopped it.
    Interrupted,
    /// It is suspended; why.
    Held(String),
    /// This machine does not let it go on; for a person.
    Broken(String),
}

/// A stage under way.
#[derive(Debug)]
struct Work {
    state: StageWork,
    name: StageId,
    lock: Option<Lock>,
    told_wait: bool,
    began: Instant,
    /// Workers were asked to stop because the plan no longer wants the stage.
    dropped: bool,
    shown: Option<Instant>,
    /// Where rates are counted from: when the first progress came, and how much was done by then.
    baseline: Option<(Instant, i64, i64)>,
    /// Tokens of shards that are done.
    tokens: i64,
}

/// A child process.
#[derive(Debug)]
struct Running {
    key: String,
    name: StageId,
    job: Job,
    number: u32,
    cores: usize,
    memory: i64,
    /// Which of the session's GPUs it holds.
    gpu: Option<usize>,
    began: Instant,
    charged: Duration,
    progress: Progress,
    stop: watch::Sender<Stop>,
    log: String,
}

/// Both ends of a channel.
type Channel<T> = (mpsc::UnboundedSender<T>, mpsc::UnboundedReceiver<T>);

/// Everything about a run that is being driven.
pub struct Driver {
    session: Session,
    display: Box<dyn Display>,
    stop: watch::Receiver<Stop>,
    works: Vec<Work>,
    running: BTreeMap<u64, Running>,
    next_id: u64,
    attempts: JoinSet<(u64, io::Result<Ended>)>,
    said: Channel<(u64, Progress)>,
    observed: Observations,
    /// How often each stage's output was found damaged.
    corruptions: BTreeMap<String, u32>,
    /// Why this machine does not let the run go on.
    broken: Option<String>,
    last_plan: Plan,
    last_charge: Instant,
    told_accepted: Option<i64>,
    /// The conditions that were shown last.
    conditions: Vec<Condition>,
    /// Whether something happened that a plan may depend on.
    is_stale: bool,
}

impl Driver {
    /// A driver for `session` that shows events on `display` and heeds `stop`.
    pub fn new(session: Session, display: Box<dyn Display>, stop: watch::Receiver<Stop>) -> Driver {
        let conditions = Live::read(&session.directory)
            .map(|live| live.status.conditions)
            .unwrap_or_default();
        Driver {
            session,
            display,
            stop,
            works: Vec::new(),
            running: BTreeMap::new(),
            next_id: 0,
            attempts: JoinSet::new(),
            said: mpsc::unbounded_channel(),
            observed: Observations::default(),
            corruptions: BTreeMap::new(),
            broken: None,
            last_plan: Plan::default(),
            last_charge: Instant::now(),
            told_accepted: None,
            conditions,
            is_stale: true,
        }
    }

    /// Drives the run until it is over, is stopped, or cannot go on; what is known of it then.
    pub async fn drive(mut self) -> (Left, SynthesisRunStatus) {
        self.tell_start();
        self.wait_for_leftovers().await;
        self.check_finished_stages().await;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let left = loop {
            if let Some(left) = self.step() {
                break left;
            }
            self.wait(&mut tick).await;
        };
        let left = self.save().err().map_or(left, Left::Broken);
        (left, self.finish())
    }

    /// One decision: plans, pins, starts and stops. How the run was left, once nothing runs any more.
    fn step(&mut self) -> Option<Left> {
        let stopped = *self.stop.borrow() != Stop::No;
        if !stopped && self.broken.is_none() && std::mem::take(&mut self.is_stale) {
            self.observed.running_millis = self.uncharged_millis();
            let plan = plan(
                &self.session.run,
                &self.session.record,
                &self.observed,
                now_millis(),
            );
            if self.session.record.pin(&plan.pins) {
                self.save_or_break();
            }
            self.drop_unplanned(&plan.start);
            self.last_plan = plan;
            self.tell_status();
            if self.broken.is_none() {
                self.take_up();
                self.start_ready();
            }
        }
        if stopped
            || self.broken.is_some()
            || self.last_plan.finished.is_some()
            || self.last_plan.suspended.is_some()
        {
            self.stop_all(if *self.stop.borrow() == Stop::AtOnce {
                Stop::AtOnce
            } else {
                Stop::Gently
            });
            if self.running.is_empty() {
                let plan = &self.last_plan;
                let planned = || {
                    plan.finished
                        .clone()
                        .map(Left::Ended)
                        .or_else(|| plan.suspended.clone().map(Left::Held))
                };
                let broken = self.broken.clone().map(Left::Broken);
                return broken
                    .or_else(planned)
                    .or(stopped.then_some(Left::Interrupted));
            }
        }
        None
    }

    /// Waits until something happens, and takes it up.
    async fn wait(&mut self, tick: &mut tokio::time::Interval) {
        let mut is_stale = true;
        tokio::select! {
            Some(joined) = self.attempts.join_next() => match joined {
                Ok((id, result)) => self.ended(id, result),
                Err(error) => self.broken = Some(format!("a worker's watcher failed: {error}")),
            },
            Some((id, progress)) = self.said.1.recv() => {
                self.progressed(id, progress);
                is_stale = false;
            }
            Ok(()) = self.stop.changed() => self.tell_stopping(),
            _ = tick.tick() => self.ticked(),
        }
        self.is_stale |= is_stale;
    }

    fn ticked(&mut self) {
        const CHARGE_EVERY: Duration = Duration::from_secs(10);
        if self.last_charge.elapsed() >= CHARGE_EVERY && !self.running.is_empty() {
            self.charge_running();
            self.save_or_break();
        }
        self.write_live();
    }

    /// Charges what running workers have taken since they were last charged, so that a crash of this process loses little.
    fn charge_running(&mut self) {
        self.last_charge = Instant::now();
        for running in self.running.values_mut() {
            let total = running.began.elapsed();
            let more = total.saturating_sub(running.charged);
            running.charged = total;
            if let Some(work) = self
                .works
                .iter()
                .find(|work| work.state.task().key == running.key && work.name == running.name)
            {
                self.session
                    .record
                    .add_usage(work.state.task(), millis(more), 0);
            }
        }
    }

    fn uncharged_millis(&self) -> i64 {
        self.running
            .values()
            .map(|running| millis(running.began.elapsed().saturating_sub(running.charged)))
            .sum()
    }

    fn save(&self) -> Result<(), String> {
        record_file::save(&self.session.directory, &self.session.record).map_err(|error| {
            format!(
                "cannot write the run record in {}: {error}; nothing is lost: mend that (a full disk?), then the same command goes on",
                self.session.directory.display()
            )
        })
    }

    fn save_or_break(&mut self) {
        if let Err(message) = self.save() {
            self.broken.get_or_insert(message);
        }
    }

    /// Asks every worker to stop.
    fn stop_all(&mut self, how: Stop) {
        for running in self.running.values() {
            running.ask_to_stop(how);
        }
    }

    /// Stops the stages that the plan no longer wants, and forgets those that have stopped.
    fn drop_unplanned(&mut self, start: &[StageTask]) {
        for work in &mut self.works {
            let task = work.state.task();
            work.dropped = !start
                .iter()
                .any(|wanted| wanted.key == task.key && wanted.id == work.name);
        }
        for running in self.running.values() {
            if self
                .works
                .iter()
                .any(|work| work.dropped && work.name == running.name)
            {
                running.ask_to_stop(Stop::Gently);
            }
        }
        self.works
            .retain(|work| !work.dropped || work.state.active() > 0);
    }

    fn show(&mut self, event: &Event) {
        self.display.show(event);
    }

    fn warn(&mut self, message: String) {
        self.show(&Event::Warning { message });
    }
}

impl Running {
    /// Raises the urgency with which the worker is to stop.
    fn ask_to_stop(&self, how: Stop) {
        // A seal is short and saves nothing on its way.
        let how = if self.job == Job::Seal {
            how.max(Stop::AtOnce)
        } else {
            how
        };
        self.stop.send_if_modified(|now| {
            let raised = *now < how;
            *now = how.max(*now);
            raised
        });
    }

    fn is_asked_to_stop(&self) -> bool {
        *self.stop.borrow() != Stop::No
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
