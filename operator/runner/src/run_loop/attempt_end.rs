//! The end of an attempt: what it means for its stage, for the record, and for the plan.

use std::io;
use std::path::Path;
use std::time::Instant;

use scalequest_crds::protocol::report::{Outcome, StageReport};

use super::start::started_marker;
use super::{RunLoop, WorkerProcess, millis};
use crate::attempt::AttemptResult;
use crate::progress::Event;
use crate::stage_state::{Transition, WorkItem};
use scalequest_core::record::{Failure, StageFailure};
use scalequest_core::retry::MAX_CORRUPTIONS;

impl RunLoop {
    /// Handles the end of worker `id`.
    pub(super) fn attempt_ended(&mut self, id: u64, result: io::Result<AttemptResult>) {
        let Some(worker) = self.workers.remove(&id) else {
            return;
        };
        let Some(index) = self
            .stages
            .iter()
            .position(|stage| stage.name == worker.name && stage.state.task().key == worker.key)
        else {
            return;
        };
        let rest = worker.started_at.elapsed().saturating_sub(worker.charged);
        let task = self.stages[index].state.task().clone();
        self.session.record.add_usage(&task, millis(rest), 0);
        self.stages[index].tokens += worker.progress.tokens;
        let now = Instant::now();
        let (next, message) = match &result {
            Ok(ended) => {
                let is_success = matches!(
                    ended.report.as_ref().map(|report| &report.outcome),
                    Some(Outcome::Done { .. } | Outcome::Sealed { .. } | Outcome::Missing { .. })
                );
                if worker.is_shutting_down() && !(is_success && ended.code == Some(0)) {
                    self.stages[index].state.interrupt_attempt(worker.item);
                    return self.save_or_abort();
                }
                self.report_warnings(ended.report.as_ref());
                (
                    self.stages[index]
                        .state
                        .end_attempt(worker.item, ended, now),
                    ended.message(),
                )
            }
            Err(error) => {
                let message = error.to_string();
                (
                    self.stages[index]
                        .state
                        .fail_attempt(worker.item, &message, now),
                    message,
                )
            }
        };
        self.apply_transition(index, &worker, next, &message);
        self.save_or_abort();
    }

    fn report_warnings(&mut self, report: Option<&StageReport>) {
        for message in report
            .into_iter()
            .flat_map(|report| report.warnings.clone())
        {
            self.warn(message);
        }
    }

    fn apply_transition(
        &mut self,
        index: usize,
        worker: &WorkerProcess,
        next: Transition,
        message: &str,
    ) {
        match next {
            Transition::Continue => {}
            Transition::Retry(wait) => {
                if self.is_disk_full() {
                    return;
                }
                self.report_failed_attempt(worker, message, Some(wait.as_secs().max(1)));
            }
            Transition::ShardFailed => {
                if self.is_disk_full() {
                    return;
                }
                self.report_failed_attempt(worker, message, None);
                if let WorkItem::Shard(shard) = worker.item {
                    let task = self.stages[index].state.task().clone();
                    self.session.record.add_failed_shard(&task, shard, message);
                }
            }
            Transition::Blocked(why) => {
                self.abort_reason.get_or_insert(format!(
                    "{}: {why}; nothing is lost: fix that, then run the same command again to resume",
                    worker.name
                ));
            }
            Transition::FoundMissing(total) => self.found_missing(index, total),
            Transition::InputCorrupted(report) => self.corrupt_input(index, &report),
            Transition::Sealed(report) => self.sealed(index, &report),
            Transition::Failed(failure) => {
                if !self.is_disk_full() {
                    self.fail_stage(index, failure);
                }
            }
        }
    }

    fn fail_stage(&mut self, index: usize, failure: Failure) {
        let stage = &self.stages[index];
        let failure = StageFailure {
            key: stage.state.task().key.clone(),
            name: stage.name.to_string(),
            failure,
        };
        self.observed.failed.push(failure);
    }

    fn found_missing(&mut self, index: usize, total: i64) {
        let stage = &self.stages[index];
        let task = stage.state.task();
        let was_sealed = self.session.record.sealed(&task.id).is_some();
        if was_sealed && !stage.state.has_computed() {
            let message = format!(
                "{}: {total} of {} shards are corrupt or gone and are recomputed",
                stage.name,
                task.shards()
            );
            self.warn(message);
        }
        let stage = &self.stages[index];
        let (name, task) = (stage.name.clone(), stage.state.task());
        let event = Event::StageStarted {
            name,
            rows: task.rows,
            shards: task.shards(),
        };
        self.show(&event);
    }

    fn corrupt_input(&mut self, index: usize, report: &StageReport) {
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
            return self.fail_stage(index, Failure::corrupt_input(*stage, message));
        }
        self.observed.corrupted.insert(key.clone());
        self.warn(format!(
            "{message}; stage {stage} is verified and recomputed"
        ));
    }

    fn sealed(&mut self, index: usize, report: &StageReport) {
        let stage = &self.stages[index];
        let task = stage.state.task().clone();
        let task_file = self.session.directory.join("tasks").join(format!(
            "{}-{}.json",
            stage.name.file_stem(),
            task.key
        ));
        let reused = !stage.state.has_computed() && !started_marker(&task_file).exists();
        let was_sealed = self
            .session
            .record
            .sealed(&task.id)
            .is_some_and(|(stage, _)| stage.key == task.key);
        if let Err(error) = self.session.record.seal(&task, report, reused) {
            return self.fail_stage(index, Failure::stage(error.to_string()));
        }
        self.observed.corrupted.remove(&task.key);
        let event = Event::StageSealed {
            name: stage.name.clone(),
            reused,
            counts: report.counts.clone(),
            millis: millis(stage.started_at.elapsed()),
        };
        if !was_sealed || stage.state.has_computed() {
            self.show(&event);
        }
        self.stages.remove(index);
    }

    fn report_failed_attempt(
        &mut self,
        worker: &WorkerProcess,
        message: &str,
        retry_seconds: Option<u64>,
    ) {
        let event = Event::AttemptFailed {
            name: worker.name.clone(),
            shard: worker.item.shard(),
            attempt: worker.number,
            message: message.to_string(),
            retry_seconds,
            log: worker.log.clone(),
        };
        self.show(&event);
    }

    /// Whether the disk is full: an infrastructure failure, which counts against no shard.
    fn is_disk_full(&mut self) -> bool {
        match probe(&self.session.directory) {
            Ok(()) => false,
            Err(error) => {
                self.abort_reason.get_or_insert(format!(
                    "cannot write to {}: {error}; nothing is lost: free some space, then run the same command again to resume",
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
