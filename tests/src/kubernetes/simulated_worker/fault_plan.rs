//! Fault injection for simulated workers: some shards cannot be made, reports get lost, and the first worker of each stage waits until the
//! test lets it go on, so that something can be done to the run in every stage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Stage;
use tokio::sync::{mpsc, oneshot};

use crate::kubernetes::simulated::PodEnd;

/// Faults that are injected into workers. The default is none.
#[derive(Debug, Default)]
pub struct FaultPlan {
    /// Shards whose workers fail for good (poison pills).
    pub poison: BTreeMap<Stage, BTreeSet<i64>>,
    /// A stage whose workers something outside of it fails until [`SimulatedStore::end_outage`](super::SimulatedStore::end_outage).
    pub outage: Option<(Stage, Cause)>,
    /// How the first worker of a stage fails; every later one succeeds.
    pub failures: BTreeMap<Stage, Failure>,
    /// Whether the first report of every seal is lost.
    pub loses_seals: bool,
    /// Receives the first worker of each stage.
    pub paused: Option<mpsc::UnboundedSender<PausedWorker>>,
}

/// How a worker fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It reports what outside of its task fails it.
    Reports(Cause),
    /// It exits with a code and without a report.
    Exits(i32),
    /// Its pod is ended by something else.
    Ended(PodEnd),
}

/// A worker that waits until this is dropped.
#[derive(Debug)]
pub struct PausedWorker {
    /// The stage.
    pub stage: Stage,
    /// Its shards.
    pub shards: i64,
    /// The worker's pod.
    pub pod: String,
    _until_dropped: oneshot::Sender<()>,
}

/// Faults that were injected once already.
#[derive(Debug, Default)]
pub(super) struct FaultState {
    paused: Mutex<BTreeSet<String>>,
    lost: Mutex<BTreeSet<String>>,
    failed: Mutex<BTreeSet<String>>,
}

impl FaultPlan {
    /// Returns how the first worker of a stage fails, once.
    pub(super) fn failure(&self, task: &StageTask, done: &FaultState) -> Option<Failure> {
        let failure = self.failures.get(&task.id.stage)?;
        is_first(&done.failed, task.id.stage.slug()).then_some(*failure)
    }

    /// Whether the shard cannot be made.
    pub(super) fn fails(&self, task: &StageTask, shard: i64) -> bool {
        let poisoned = self.poison.get(&task.id.stage);
        poisoned.is_some_and(|shards| shards.contains(&shard))
    }

    /// Returns what outside of the task fails its workers.
    pub(super) fn outage(&self, task: &StageTask) -> Option<Cause> {
        let (_, cause) = self.outage.filter(|(stage, _)| *stage == task.id.stage)?;
        Some(cause)
    }

    /// Whether this report of a seal is lost.
    pub(super) fn loses_report(&self, task: &StageTask, done: &FaultState) -> bool {
        self.loses_seals && is_first(&done.lost, &task.key)
    }

    /// Waits until the test lets this worker go on, where it is the first of its stage; whether it had to wait.
    pub(super) async fn pause(&self, task: &StageTask, pod: &str, done: &FaultState) -> bool {
        let Some(sender) = &self.paused else {
            return false;
        };
        // An edit may change a stage's content: it is the same stage all the same.
        let place = format!(
            "{} {:?} {:?}",
            task.id.stage, task.id.generator, task.id.wave
        );
        if !is_first(&done.paused, &place) {
            return false;
        }
        let (until_dropped, dropped) = oneshot::channel();
        let worker = PausedWorker {
            stage: task.id.stage,
            shards: task.shards(),
            pod: pod.into(),
            _until_dropped: until_dropped,
        };
        if sender.send(worker).is_ok() {
            let _ = dropped.await;
        }
        true
    }
}

fn is_first(seen: &Mutex<BTreeSet<String>>, what: &str) -> bool {
    let mut seen = seen.lock().expect("no panic while locked");
    seen.insert(what.into())
}
