//! Reports of a run under way: progress with rates, the status, and the status file.

use std::time::{Duration, Instant};

use scalequest_core::status::conditions::Degradation;
use scalequest_core::status::{
    ShardProgress, StageProgress as ActiveStage, StatusInput, status as project,
};
use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::v1alpha1::conditions::reason;
use scalequest_crds::v1alpha1::status::SynthesisRunStatus;

use super::{RunLoop, StageRun, WorkerProcess, millis};
use crate::machine::now_millis;
use crate::progress::{Event, StageProgress};
use crate::shutdown::Shutdown;
use crate::status_file::StatusFile;

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
        let record = &self.session.record;
        let is_known = record.waves.iter().any(|wave| wave.end.is_some());
        let accepted = is_known.then(|| record.accepted());
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
        let task = &worker.task;
        let Some(index) = self.stages.iter().position(|stage| stage.computes(task)) else {
            return;
        };
        let (stage, now) = (&self.stages[index], Instant::now());
        if stage
            .reported_at
            .is_some_and(|reported_at| now.duration_since(reported_at) < PROGRESS_INTERVAL)
        {
            return;
        }
        let (name, progress) = (stage.task().id.clone(), self.stage_progress(stage, now));
        let stage = &mut self.stages[index];
        stage.reported_at = Some(now);
        if stage.baseline.is_none() && progress.done > 0 {
            stage.baseline = Some((now, progress.done, progress.tokens));
        }
        self.show(&Event::StageProgressed { name, progress });
    }

    /// The workers of a stage.
    fn workers_of<'a>(&'a self, stage: &'a StageRun) -> impl Iterator<Item = &'a WorkerProcess> {
        let workers = self.workers.values();
        workers.filter(|worker| stage.computes(&worker.task))
    }

    /// Returns how far a stage is: its committed shards and the progress of its workers.
    fn stage_progress(&self, stage: &StageRun, now: Instant) -> StageProgress {
        let task = stage.task();
        let mut progress = StageProgress {
            tokens: stage.tokens,
            shards_done: stage.machine.committed(),
            shards: task.shards(),
            ..StageProgress::default()
        };
        for worker in self.workers_of(stage) {
            progress.add(&worker.progress);
        }
        if task.id.stage.is_sharded() {
            let committed = (stage.machine.committed() * task.shard_rows).min(task.rows);
            progress.done = (progress.done + committed).min(task.rows);
            progress.total = task.rows;
        }
        rates(&mut progress, stage, now);
        progress
    }

    /// The status of the run, projected from its record.
    pub(super) fn status(&mut self) -> SynthesisRunStatus {
        let status = project(&StatusInput {
            run: &self.session.run,
            record: &self.session.record,
            plan: &self.last_plan,
            progress: &self.active_stages(),
            degradations: &self.degradations(),
            waiting: None,
            previous: &self.conditions,
            generation: None,
            now_millis: now_millis(),
        });
        self.conditions.clone_from(&status.conditions);
        status
    }

    /// Returns what needs attention while the run continues.
    fn degradations(&self) -> Vec<Degradation> {
        if self.observed.corrupted.is_empty() {
            return Vec::new();
        }
        vec![Degradation::new(
            reason::OUTPUT_CORRUPTED,
            "finished work was found corrupt or gone and is recomputed; the run's log names it",
        )]
    }

    /// Returns the progress of the stages under way.
    fn active_stages(&self) -> Vec<ActiveStage> {
        let shard = |worker: &WorkerProcess| {
            Some(ShardProgress {
                shard: worker.item.shard()?,
                since_millis: now_millis() - millis(worker.started_at.elapsed()),
                latest: worker.progress.clone(),
            })
        };
        let active_stage = |stage: &StageRun| {
            let shards: Vec<_> = self.workers_of(stage).filter_map(shard).collect();
            ActiveStage {
                key: stage.task().key.clone(),
                committed: stage.machine.committed(),
                failed: i64::try_from(stage.machine.failed_shards().len()).unwrap_or(i64::MAX),
                has_started: !shards.is_empty(),
                shards,
                attempts: Default::default(),
                job: None,
            }
        };
        self.stages.iter().map(active_stage).collect()
    }

    /// Writes the status for other processes, and returns it.
    pub(super) fn write_status_file(&mut self) -> SynthesisRunStatus {
        let now = Instant::now();
        let event = |stage: &StageRun| Event::StageProgressed {
            name: stage.task().id.clone(),
            progress: self.stage_progress(stage, now),
        };
        let active = self.stages.iter();
        let active = active.filter(|stage| stage.machine.active() > 0);
        let status_file = StatusFile {
            pid: std::process::id(),
            at_millis: now_millis(),
            active: active.map(event).collect(),
            status: self.status(),
        };
        status_file.write(&self.session.directory);
        status_file.status
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
