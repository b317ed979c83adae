//! Killing a run at chosen moments. A moment is told from the outside, by the workers' command lines, so that nothing
//! in the product knows that it is being watched.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use super::processes::{Worker, signal, workers_below};

/// Whom to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The runner.
    Runner,
    /// The worker at the stage.
    Worker,
}

/// A moment of a run: this long after a worker for the stage is first seen.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The stage's name in paths.
    pub stage: &'static str,
    /// Delay after the first sight of it.
    pub after: Duration,
    /// Whom to kill then.
    pub victim: Victim,
}

/// What came of waiting for a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Struck {
    /// The victim got SIGKILL.
    Killed,
    /// The run ended first.
    Ended,
}

/// Waits until `moment` comes in the run of `runner`, whose workers mention `directory`, and kills the victim.
pub fn strike(runner: &mut Child, directory: &Path, moment: &Moment, patience: Duration) -> Struck {
    let begun = Instant::now();
    let mut seen: Option<Instant> = None;
    while begun.elapsed() < patience {
        if matches!(runner.try_wait(), Ok(Some(_))) {
            return Struck::Ended;
        }
        let worker = workers_below(directory).into_iter().find(|worker| is_at(worker, moment.stage));
        seen = seen.or_else(|| worker.as_ref().map(|_| Instant::now()));
        if seen.is_some_and(|since| since.elapsed() >= moment.after) {
            match (moment.victim, worker) {
                (Victim::Runner, _) => {
                    signal(runner.id(), "KILL");
                    let _ = runner.wait();
                    return Struck::Killed;
                }
                (Victim::Worker, Some(worker)) => {
                    signal(worker.pid, "KILL");
                    return Struck::Killed;
                }
                // The worker was faster than the moment; its next shard is as good.
                (Victim::Worker, None) => {}
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("no worker at {} was seen within {patience:?}", moment.stage);
}

fn is_at(worker: &Worker, stage: &str) -> bool {
    let task = worker.arguments.iter().skip_while(|a| *a != "--task").nth(1);
    task.and_then(|path| Path::new(path).file_name()?.to_str().map(str::to_owned))
        .is_some_and(|file| file.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| part == stage))
}
