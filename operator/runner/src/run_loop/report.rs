//! Reports of a run under way: progress with rates, the status, and the status file.

use std::time::{Duration, Instant};

use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::v1alpha1::conditions::reason;
use scalequest_crds::v1alpha1::status::SynthesisRunStatus;

use super::{RunLoop, StageRun};
use crate::machine::now_millis;
use crate::progress::{Event, StageProgress};
use crate::shutdown::Shutdown;
use crate::status_file::StatusFile;
use scalequest_core::status::conditions::Degradation;
use scalequest_core::status::{
    ShardProgress, StageProgress as AtWork, StatusInput, status as status_of,
};

/// Least time between two progress events of a stage.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

impl RunLoop {
    pub(super) fn report_start(&mut self) {
        let session = &self.session;
        let event = Event::RunStarted {
            run: session.run.name().to_string(),
            resumed: session.resumed,
            workspace: session.run.workspace().to_string(),
            output: session.run.output().to_string(),
            cores: session.machine.cores,
            memory: session.machine.memory,
            gpus: session.gpus.all.len(),
        };
        self.show(&event);
        for message in std::mem::take(&mut self.session.warnings) {
            self.warn(message);
        }
    }

    pub(super) fn report_stopping(&mut self) {
        if *self.shutdown.borrow() == Shutdown::Graceful {
            let workers = self.workers.len();
            self.show(&Event::Stopping { workers });
        }
    }

    /// Reports how far the dataset is, if that changed.
    pub(super) fn report_status(&mut self) {
        let accepted = self
            .session
            .record
            .waves
            .iter()
            .any(|wave| wave.end.is_some())
            .then(|| self.session.record.accepted());
        if accepted.is_some() && accepted != self.reported_accepted {
            self.reported_accepted = accepted;
            let status = Box::new(self.status());
            self.show(&Event::Status { status });
        }
    }

    /// Handles the progress of a worker.
    pub(super) fn progressed(&mut self, id: u64, progress: Progress) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        worker.progress = progress;
        let (name, key) = (worker.name.clone(), worker.key.clone());
        let now = Instant::now();
        let Some(index) = self
            .stages
            .iter()
            .position(|stage| stage.name == name && stage.state.task().key == key)
        else {
            return;
        };
        if self.stages[index]
            .reported_at
            .is_some_and(|reported_at| now.duration_since(reported_at) < PROGRESS_INTERVAL)
        {
            return;
        }
        let progress = self.stage_progress(index, now);
        let stage = &mut self.stages[index];
        stage.reported_at = Some(now);
        if stage.baseline.is_none() && progress.done > 0 {
            stage.baseline = Some((now, progress.done, progress.tokens));
        }
        self.show(&Event::StageProgressed { name, progress });
    }

    /// Returns how far a stage is: its committed shards and the progress of its workers.
    fn stage_progress(&self, index: usize, now: Instant) -> StageProgress {
        let stage = &self.stages[index];
        let task = stage.state.task();
        let committed = (stage.state.committed() * task.shard_rows).min(task.rows);
        let mut progress = StageProgress {
            tokens: stage.tokens,
            shards_done: stage.state.committed(),
            shards: task.shards(),
            ..StageProgress::default()
        };
        for worker in self
            .workers
            .values()
            .filter(|worker| worker.name == stage.name && worker.key == task.key)
        {
            progress.add(&worker.progress);
        }
        if task.id.stage.is_sharded() {
            progress.done = (progress.done + committed).min(task.rows);
            progress.total = task.rows;
        }
        rates(&mut progress, stage, now);
        progress
    }

    /// The status of the run, projected from its record.
    pub(super) fn status(&mut self) -> SynthesisRunStatus {
        let status = status_of(&StatusInput {
            run: &self.session.run,
            record: &self.session.record,
            plan: &self.last_plan,
            progress: &self.active_stages(),
            degradations: &self.degradations(),
            previous: &self.conditions,
            generation: None,
            now_millis: now_millis(),
        });
        self.conditions.clone_from(&status.conditions);
        status
    }

    /// Returns what needs attention while the run continues.
    fn degradations(&self) -> Vec<Degradation> {
        let damaged = (!self.observed.corrupted.is_empty()).then(|| {
            Degradation::new(
                reason::OUTPUT_CORRUPTED,
                "finished work was found corrupt or gone and is recomputed; the run's log names it",
            )
        });
        damaged.into_iter().collect()
    }

    /// Returns the progress of the stages under way.
    fn active_stages(&self) -> Vec<AtWork> {
        let shards = |stage: &StageRun| {
            let mine = |worker: &&super::WorkerProcess| {
                worker.name == stage.name && worker.key == stage.state.task().key
            };
            let shard = |worker: &super::WorkerProcess| {
                let since_millis = now_millis() - super::millis(worker.started_at.elapsed());
                Some(ShardProgress {
                    shard: worker.item.shard()?,
                    since_millis,
                    latest: worker.progress.clone(),
                })
            };
            self.workers
                .values()
                .filter(mine)
                .filter_map(shard)
                .collect::<Vec<_>>()
        };
        let active_stages = |stage: &StageRun| {
            let shards = shards(stage);
            AtWork {
                key: stage.state.task().key.clone(),
                committed: stage.state.committed(),
                failed: stage.state.failed_shards(),
                has_started: !shards.is_empty(),
                shards,
                job: None,
            }
        };
        self.stages.iter().map(active_stages).collect()
    }

    pub(super) fn write_status_file(&mut self) {
        let now = Instant::now();
        let event = |index: usize| {
            let (name, progress) = (
                self.stages[index].name.clone(),
                self.stage_progress(index, now),
            );
            serde_json::to_value(Event::StageProgressed { name, progress }).ok()
        };
        let is_active = |index: &usize| self.stages[*index].state.active() > 0;
        let active = (0..self.stages.len())
            .filter(is_active)
            .filter_map(event)
            .collect();
        let status_file = StatusFile {
            pid: std::process::id(),
            at_millis: now_millis(),
            status: self.status(),
            active,
        };
        status_file.write(&self.session.directory);
    }

    /// Returns the last status, and writes it for later readers.
    pub(super) fn finish(&mut self) -> SynthesisRunStatus {
        let status = self.status();
        let status_file = StatusFile {
            pid: std::process::id(),
            at_millis: now_millis(),
            status: status.clone(),
            active: Vec::new(),
        };
        status_file.write(&self.session.directory);
        status
    }
}

fn rates(progress: &mut StageProgress, stage: &StageRun, now: Instant) {
    let Some((since, done, tokens)) = stage.baseline else {
        return;
    };
    let seconds = now.duration_since(since).as_secs_f64();
    if seconds < 0.5 {
        return;
    }
    progress.per_second = (progress.done - done).max(0) as f64 / seconds;
    progress.tokens_per_second = (progress.tokens - tokens).max(0) as f64 / seconds;
    if progress.per_second > 0.0 && progress.total > progress.done {
        progress.eta_seconds =
            Some(((progress.total - progress.done) as f64 / progress.per_second).ceil() as i64);
    }
}
