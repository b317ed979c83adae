//! Killing a run at chosen moments. A moment is told from the outside, by the workers' command lines, so that nothing
//! in the product knows that it is being watched.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use scalequest_crds::v1alpha1::Stage;

use super::finished_run::stage_of_file;
use super::processes::{Worker, signal, workers_below};

/// Whom to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// The runner.
    Runner,
    /// The worker at the stage.
    Worker,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doing {
    /// A shard of the stage.
    Shard,
    /// Sealing it.
    Seal,
}

/// A moment of a run: this long after a worker at the stage is first seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// The stage.
    pub stage: Stage,
    /// What the worker does there.
    pub doing: Doing,
    /// Whom to kill.
    pub victim: Victim,
    /// Delay after the first sight of the worker.
    pub after: Duration,
}

/// What came of waiting for a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Struck {
    /// The victim got SIGKILL while a worker was at the stage.
    Killed,
    /// The workers at the stage were done before the moment.
    Missed,
    /// The run ended first.
    Ended,
}

/// Waits until `moment` comes in the run of `runner` in `directory`, and kills the victim. `is_past` tells that it cannot come any
/// more.
///
/// # Panics
/// If no worker is seen at the stage within `timeout`.
pub fn strike(
    runner: &mut Child,
    directory: &Path,
    moment: &Moment,
    timeout: Duration,
    is_past: impl Fn() -> bool,
) -> Struck {
    let begun = Instant::now();
    let is_there = |worker: &Worker| is_at(worker, moment);
    let first = loop {
        assert!(
            begun.elapsed() < timeout,
            "no worker at {moment:?} was seen within {timeout:?}"
        );
        if matches!(runner.try_wait(), Ok(Some(_))) {
            return Struck::Ended;
        }
        if let Some(worker) = workers_below(directory).into_iter().find(is_there) {
            break worker;
        }
        if is_past() {
            return Struck::Missed;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    std::thread::sleep(moment.after);
    let now = workers_below(directory)
        .into_iter()
        .filter(is_there)
        .map(|worker| worker.pid)
        .collect::<Vec<_>>();
    let Some(pid) = now
        .iter()
        .copied()
        .find(|pid| *pid == first.pid)
        .or(now.first().copied())
    else {
        return Struck::Missed;
    };
    match moment.victim {
        Victim::Worker => signal(pid, "KILL"),
        Victim::Runner => {
            signal(runner.id(), "KILL");
            let _ = runner.wait();
        }
    }
    Struck::Killed
}

/// Whether a worker is at the stage of `moment`, and does there what the moment says.
fn is_at(worker: &Worker, moment: &Moment) -> bool {
    let verb = match moment.doing {
        Doing::Shard => "run",
        Doing::Seal => "seal",
    };
    let task = worker
        .arguments
        .iter()
        .skip_while(|a| *a != "--task")
        .nth(1);
    let file = task.and_then(|path| Path::new(path).file_name()?.to_str());
    file.and_then(stage_of_file) == Some(moment.stage)
        && worker.arguments.get(1).is_some_and(|a| a == verb)
        && !worker.arguments.iter().any(|a| a == "--verify")
}
