//! What a test does to simulated workers: some shards cannot be made, reports get lost, and the first worker of each stage waits until the
//! test lets it go on, so that something can be done to the run in every stage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Stage;
use tokio::sync::{mpsc, oneshot};

/// What is done to workers. The default is nothing.
#[derive(Debug, Default)]
pub struct Mischief {
    /// Shards whose workers end with the code that gives them up.
    pub poison: BTreeMap<Stage, BTreeSet<i64>>,
    /// Whether the first report of every seal is lost.
    pub loses_seals: bool,
    /// Where the first worker of each stage is handed over.
    pub held: Option<mpsc::UnboundedSender<Held>>,
}

/// A worker that waits. Dropped, it goes on.
#[derive(Debug)]
pub struct Held {
    /// The stage.
    pub stage: Stage,
    /// Its shards.
    pub shards: i64,
    /// The worker's pod.
    pub pod: String,
    _until_dropped: oneshot::Sender<()>,
}

/// What has been done once already.
#[derive(Debug, Default)]
pub(super) struct Done {
    held: Mutex<BTreeSet<String>>,
    lost: Mutex<BTreeSet<String>>,
}

impl Mischief {
    /// Whether the shard cannot be made.
    pub(super) fn spoils(&self, task: &StageTask, shard: i64) -> bool {
        let spoilt = self.poison.get(&task.stage);
        spoilt.is_some_and(|shards| shards.contains(&shard))
    }

    /// Whether this report of a seal is lost.
    pub(super) fn loses(&self, task: &StageTask, done: &Done) -> bool {
        self.loses_seals && is_first(&done.lost, &task.key)
    }

    /// Waits until the test lets this worker go on, where it is the first of its stage; whether it had to wait.
    pub(super) async fn hold(&self, task: &StageTask, pod: &str, done: &Done) -> bool {
        let Some(sender) = &self.held else {
            return false;
        };
        // An edit may change a stage's content: it is the same stage all the same.
        let place = format!("{} {:?} {:?}", task.stage, task.generator, task.wave);
        if !is_first(&done.held, &place) {
            return false;
        }
        let (until_dropped, dropped) = oneshot::channel();
        let held = Held {
            stage: task.stage,
            shards: task.shards(),
            pod: pod.into(),
            _until_dropped: until_dropped,
        };
        if sender.send(held).is_ok() {
            let _ = dropped.await;
        }
        true
    }
}

fn is_first(seen: &Mutex<BTreeSet<String>>, what: &str) -> bool {
    let mut seen = seen.lock().expect("no panic while locked");
    seen.insert(what.into())
}
