//! The end of an attempt: what it means for its stage, for the record, and for the plan.

use std::io;
use std::path::Path;

use scalequest_core::record::{Failure, RetryToken, StageFailure};
use scalequest_core::retry::MAX_CORRUPTIONS;
use scalequest_core::stage_machine::{
    AttemptEnd, Blocked, CorruptInput, FailureClass, Transition, WorkItem,
};
use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::protocol::report::{Outcome, StageReport};

use super::start::started_marker;
use super::{RunLoop, WorkerProcess, millis};
use crate::attempt::AttemptResult;
use crate::machine::now_millis;
use crate::progress::Event;

impl RunLoop {
    /// Handles the end of worker `id`.
    pub(super) fn attempt_ended(&mut self, id: u64, result: io::Result<AttemptResult>) {
        self.charge_workers();
        let Some(worker) = self.workers.remove(&id) else {
            return;
        };
        let task = &worker.task;
        let Some(index) = self.stages.iter().position(|stage| stage.computes(task)) else {
            return;
        };
        let (item, now) = (worker.item, now_millis());
        let stage = &mut self.stages[index];
        stage.tokens += worker.progress.tokens;
        let (next, message) = match &result {
            Ok(ended) if worker.is_shutting_down() && !has_succeeded(ended) => {
                stage.machine.interrupt_attempt(item);
                return self.save_or_abort();
            }
            Ok(ended) => {
                let end = ended.end(&worker.task.key);
                let next = stage.machine.end_attempt(item, end, now);
                self.report_warnings(ended.report.as_ref());
                (next, ended.message())
            }
            Err(error) => {
                let message = error.to_string();
                let end = AttemptEnd::Failed {
                    class: FailureClass::Transient(Cause::StartFailed),
                    message: message.clone(),
                };
                let next = stage.machine.end_attempt(item, end, now);
                (next, message)
            }
        };
        self.apply_transition(index, &worker, next, &message);
        self.save_or_abort();
    }

    pub(super) fn report_warnings(&mut self, report: Option<&StageReport>) {
        for message in report.into_iter().flat_map(|report| &report.warnings) {
            self.warn(message.clone());
        }
    }

    fn apply_transition(
        &mut self,
        index: usize,
        worker: &WorkerProcess,
        next: Transition,
        message: &str,
    ) {
        let counts_failure = matches!(
            next,
            Transition::Retry(_) | Transition::ShardFailed | Transition::Failed(_)
        );
        // An infrastructure failure counts against no shard.
        if counts_failure && self.is_disk_full() {
            return;
        }
        match next {
            Transition::Continue => {}
            Transition::Retry(wait) => {
                let seconds = u64::try_from(wait / 1000).unwrap_or(0).max(1);
                self.report_failed_attempt(worker, message, Some(seconds));
            }
            Transition::ShardFailed => {
                self.report_failed_attempt(worker, message, None);
                if let WorkItem::Shard(shard) = worker.item {
                    let record = &mut self.session.record;
                    record.add_failed_shard(&worker.task, shard, message);
                }
            }
            Transition::Blocked(Blocked { message, .. }) => {
                self.abort_reason
                    .get_or_insert(format!("{}: {message}", worker.task.id));
            }
            Transition::FoundMissing(total) => self.found_missing(index, total),
            Transition::InputCorrupted(corrupt) => self.corrupt_input(index, corrupt),
            Transition::Sealed(report) => self.sealed(index, &report),
            Transition::Failed(failure) => self.fail_stage(index, failure),
        }
    }

    fn fail_stage(&mut self, index: usize, failure: Failure) {
        let task = self.stages[index].task();
        self.observed.failed.push(StageFailure {
            key: task.key.clone(),
            name: task.id.to_string(),
            failure,
            retry: RetryToken::default(),
        });
    }

    fn found_missing(&mut self, index: usize, total: i64) {
        let stage = &self.stages[index];
        let task = stage.task();
        let (name, rows, shards) = (task.id.clone(), task.rows, task.shards());
        if self.session.record.sealed(&name).is_some() && !stage.machine.has_computed() {
            self.warn(format!(
                "{name}: {total} of {shards} shards are corrupt or gone and are recomputed"
            ));
        }
        self.show(&Event::StageStarted { name, rows, shards });
    }

    fn corrupt_input(&mut self, index: usize, corrupt: CorruptInput) {
        let CorruptInput {
            stage,
            key,
            message,
        } = corrupt;
        let mut stages = self.session.record.stages.iter();
        let is_ours = stages.any(|known| known.key == key);
        let times = self.corruptions.entry(key.clone()).or_default();
        *times += 1;
        if !is_ours || *times > MAX_CORRUPTIONS {
            return self.fail_stage(index, Failure::corrupt_input(stage, &message));
        }
        self.observed.corrupted.insert(key);
        self.warn(format!(
            "{message}; stage {stage} is verified and recomputed"
        ));
    }

    fn sealed(&mut self, index: usize, report: &StageReport) {
        let stage = &self.stages[index];
        let (task, has_computed) = (stage.task().clone(), stage.machine.has_computed());
        let duration = stage.started_at.elapsed();
        let reused = !has_computed && !started_marker(&self.task_file(&task)).exists();
        let known = self.session.record.sealed(&task.id);
        let was_sealed = known.is_some_and(|(known, _)| known.key == task.key);
        if let Err(error) = self.session.record.seal(&task, report, reused) {
            return self.fail_stage(index, Failure::stage(error.to_string()));
        }
        self.observed.corrupted.remove(&task.key);
        self.stages.remove(index);
        if !was_sealed || has_computed {
            self.show(&Event::StageSealed {
                name: task.id,
                reused,
                counts: report.counts.clone(),
                millis: millis(duration),
            });
        }
    }

    fn report_failed_attempt(
        &mut self,
        worker: &WorkerProcess,
        message: &str,
        retry_seconds: Option<u64>,
    ) {
        self.show(&Event::AttemptFailed {
            name: worker.task.id.clone(),
            shard: worker.item.shard(),
            attempt: worker.number,
            message: message.to_string(),
            retry_seconds,
            log: worker.log.display().to_string(),
        });
    }

    /// Whether the disk is full, so that the run cannot continue.
    fn is_disk_full(&mut self) -> bool {
        let Err(error) = probe(&self.session.directory) else {
            return false;
        };
        self.abort_reason.get_or_insert(format!(
            "cannot write to {}: {error}",
            self.session.directory.display()
        ));
        true
    }
}

/// Whether the worker did what it was asked to.
fn has_succeeded(ended: &AttemptResult) -> bool {
    let outcome = ended.report.as_ref().map(|report| &report.outcome);
    let is_success = matches!(
        outcome,
        Some(Outcome::Done { .. } | Outcome::Sealed { .. } | Outcome::Missing { .. })
    );
    is_success && ended.code == Some(0)
}

/// Writes and removes as much as a record takes.
fn probe(directory: &Path) -> io::Result<()> {
    let path = directory.join(format!("probe-{}", std::process::id()));
    let written = std::fs::write(&path, vec![b'x'; 128 << 10])
        .and_then(|()| std::fs::File::open(&path)?.sync_all());
    let _ = std::fs::remove_file(&path);
    written
}
