//! Takes up how a worker ended: what it means for its stage, for the record, and for the plan.

use std::io;
use std::path::Path;
use std::time::Instant;

use scalequest_crds::protocol::report::{Outcome, StageReport};

use super::start::begun_marker;
use super::{Driver, Running, millis};
use crate::attempt::Ended;
use crate::progress::Event;
use crate::stage_work::{Job, Next};
use scalequest_core::record::{Failure, StageFailure};
use scalequest_core::retry::MAX_CORRUPTIONS;

impl Driver {
    /// Takes up how worker `id` ended.
    pub(super) fn ended(&mut self, id: u64, result: io::Result<Ended>) {
        let Some(running) = self.running.remove(&id) else {
            return;
        };
        let Some(index) = self
            .works
            .iter()
            .position(|work| work.name == running.name && work.state.task().key == running.key)
        else {
            return;
        };
        let rest = running.began.elapsed().saturating_sub(running.charged);
        let task = self.works[index].state.task().clone();
        self.session.record.add_usage(&task, millis(rest), 0);
        self.works[index].tokens += running.progress.tokens;
        let now = Instant::now();
        let (next, message) = match &result {
            Ok(ended) => {
                let is_success = matches!(
                    ended.report.as_ref().map(|report| &report.outcome),
                    Some(Outcome::Done { .. } | Outcome::Sealed { .. } | Outcome::Missing { .. })
                );
                if running.is_asked_to_stop() && !(is_success && ended.code == Some(0)) {
                    self.works[index].state.interrupted(running.job);
                    return self.save_or_break();
                }
                self.tell_warnings(ended.report.as_ref());
                (
                    self.works[index].state.ended(running.job, ended, now),
                    ended.message(),
                )
            }
            Err(error) => {
                let message = error.to_string();
                (
                    self.works[index].state.failed(running.job, &message, now),
                    message,
                )
            }
        };
        self.follow(index, &running, next, &message);
        self.save_or_break();
    }

    fn tell_warnings(&mut self, report: Option<&StageReport>) {
        for message in report
            .into_iter()
            .flat_map(|report| report.warnings.clone())
        {
            self.warn(message);
        }
    }

    fn follow(&mut self, index: usize, running: &Running, next: Next, message: &str) {
        match next {
            Next::GoOn => {}
            Next::Repeat(wait) => {
                if self.is_disk_full() {
                    return;
                }
                self.tell_failure(running, message, Some(wait.as_secs().max(1)));
            }
            Next::FailedShard => {
                if self.is_disk_full() {
                    return;
                }
                self.tell_failure(running, message, None);
                if let Job::Shard(shard) = running.job {
                    let task = self.works[index].state.task().clone();
                    self.session.record.add_failed_shard(&task, shard, message);
                }
            }
            Next::Blocked(why) => {
                self.broken.get_or_insert(format!(
                    "{}: {why}; nothing is lost: once that is mended, the same command goes on",
                    running.name
                ));
            }
            Next::FoundMissing(total) => self.found_missing(index, total),
            Next::InputCorrupted(report) => self.input_corrupted(index, &report),
            Next::Sealed(report) => self.sealed(index, &report),
            Next::Failed(failure) => {
                if !self.is_disk_full() {
                    self.fail(index, failure);
                }
            }
        }
    }

    fn fail(&mut self, index: usize, failure: Failure) {
        let work = &self.works[index];
        let failure = StageFailure {
            key: work.state.task().key.clone(),
            name: work.name.to_string(),
            failure,
        };
        self.observed.failed.push(failure);
    }

    fn found_missing(&mut self, index: usize, total: i64) {
        let work = &self.works[index];
        let task = work.state.task();
        let was_sealed = self.session.record.sealed(&task.id).is_some();
        if was_sealed && !work.state.has_computed() {
            let message = format!(
                "{}: {total} of {} shards are damaged or gone and are made again",
                work.name,
                task.shards()
            );
            self.warn(message);
        }
        let work = &self.works[index];
        let (name, task) = (work.name.clone(), work.state.task());
        let event = Event::StageStarted {
            name,
            rows: task.rows,
            shards: task.shards(),
        };
        self.show(&event);
    }

    fn input_corrupted(&mut self, index: usize, report: &StageReport) {
        let Outcome::InputCorrupted {
            stage,
            key,
            message,
        } = &report.outcome
        else {
            return;
        };
        let record = &self.session.record;
        let is_ours = record.stages.iter().any(|known| known.key == *key);
        let times = self.corruptions.entry(key.clone()).or_default();
        *times += 1;
        if !is_ours || *times > MAX_CORRUPTIONS {
            return self.fail(index, Failure::corrupt_input(*stage, message));
        }
        self.observed.corrupted.insert(key.clone());
        self.warn(format!(
            "{message}; stage {stage} is checked and made again"
        ));
    }

    fn sealed(&mut self, index: usize, report: &StageReport) {
        let work = &self.works[index];
        let task = work.state.task().clone();
        let task_file = self.session.directory.join("tasks").join(format!(
            "{}-{}.json",
            work.name.file_stem(),
            task.key
        ));
        let reused = !work.state.has_computed() && !begun_marker(&task_file).exists();
        let was_sealed = self
            .session
            .record
            .sealed(&task.id)
            .is_some_and(|known| known.key == task.key);
        if let Err(error) = self.session.record.seal(&task, report, reused) {
            return self.fail(index, Failure::stage(error.to_string()));
        }
        self.observed.corrupted.remove(&task.key);
        let event = Event::StageSealed {
            name: work.name.clone(),
            reused,
            counts: report.counts.clone(),
            millis: millis(work.began.elapsed()),
        };
        if !was_sealed || work.state.has_computed() {
            self.show(&event);
        }
        self.works.remove(index);
    }

    fn tell_failure(&mut self, running: &Running, message: &str, retry_seconds: Option<u64>) {
        let event = Event::AttemptFailed {
            name: running.name.clone(),
            shard: running.job.shard(),
            attempt: running.number,
            message: message.to_string(),
            retry_seconds,
            log: running.log.clone(),
        };
        self.show(&event);
    }

    /// Whether the disk is full, which no shard is to blame for: then the run is left as it is.
    fn is_disk_full(&mut self) -> bool {
        match probe(&self.session.directory) {
            Ok(()) => false,
            Err(error) => {
                self.broken.get_or_insert(format!(
                    "cannot write to {}: {error}; nothing is lost: free some space, then the same command goes on",
                    self.session.directory.display()
                ));
                true
            }
        }
    }
}

/// Writes and removes as much as a record takes.
fn probe(directory: &Path) -> io::Result<()> {
    let path = directory.join(format!("probe-{}", std::process::id()));
    let written = std::fs::write(&path, vec![b'x'; 128 << 10])
        .and_then(|()| std::fs::File::open(&path)?.sync_all());
    let _ = std::fs::remove_file(&path);
    written
}
