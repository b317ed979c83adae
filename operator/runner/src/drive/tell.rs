//! What is told while a run is driven: progress with rates, the status, and what is written for `scalequest status`.

use std::time::{Duration, Instant};

use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::v1alpha1::conditions::reason;
use scalequest_crds::v1alpha1::status::SynthesisRunStatus;

use super::live::Live;
use super::{Driver, Work};
use crate::machine::now_millis;
use crate::progress::{Event, StageProgress};
use crate::stop::Stop;
use scalequest_core::status::conditions::Degradation;
use scalequest_core::status::{
    ShardProgress, StageProgress as AtWork, StatusInput, status as project,
};

/// Least time between two progress events of a stage.
const PACE: Duration = Duration::from_millis(250);

impl Driver {
    pub(super) fn tell_start(&mut self) {
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

    pub(super) fn tell_stopping(&mut self) {
        if *self.stop.borrow() == Stop::Gently {
            let workers = self.running.len();
            self.show(&Event::Stopping { workers });
        }
    }

    /// Tells how far the dataset is, when that changed.
    pub(super) fn tell_status(&mut self) {
        let accepted = self
            .session
            .record
            .waves
            .iter()
            .any(|wave| wave.end.is_some())
            .then(|| self.session.record.accepted());
        if accepted.is_some() && accepted != self.told_accepted {
            self.told_accepted = accepted;
            let status = Box::new(self.status());
            self.show(&Event::Status { status });
        }
    }

    /// Takes up what a worker says of itself.
    pub(super) fn progressed(&mut self, id: u64, progress: Progress) {
        let Some(running) = self.running.get_mut(&id) else {
            return;
        };
        running.progress = progress;
        let (name, key) = (running.name.clone(), running.key.clone());
        let now = Instant::now();
        let Some(index) = self
            .works
            .iter()
            .position(|work| work.name == name && work.state.task().key == key)
        else {
            return;
        };
        if self.works[index]
            .shown
            .is_some_and(|shown| now.duration_since(shown) < PACE)
        {
            return;
        }
        let progress = self.stage_progress(index, now);
        let work = &mut self.works[index];
        work.shown = Some(now);
        if work.baseline.is_none() && progress.done > 0 {
            work.baseline = Some((now, progress.done, progress.tokens));
        }
        self.show(&Event::StageProgressed { name, progress });
    }

    /// How far a stage is: its committed shards and what its workers say.
    fn stage_progress(&self, index: usize, now: Instant) -> StageProgress {
        let work = &self.works[index];
        let task = work.state.task();
        let committed = (work.state.committed() * task.shard_rows).min(task.rows);
        let mut progress = StageProgress {
            tokens: work.tokens,
            shards_done: work.state.committed(),
            shards: task.shards(),
            ..StageProgress::default()
        };
        for running in self
            .running
            .values()
            .filter(|running| running.name == work.name && running.key == task.key)
        {
            progress.add(&running.progress);
        }
        if task.id.stage.is_sharded() {
            progress.done = (progress.done + committed).min(task.rows);
            progress.total = task.rows;
        }
        rates(&mut progress, work, now);
        progress
    }

    /// The status of the run, projected from its record.
    pub(super) fn status(&mut self) -> SynthesisRunStatus {
        let status = project(&StatusInput {
            run: &self.session.run,
            record: &self.session.record,
            plan: &self.last_plan,
            progress: &self.at_work(),
            degradations: &self.degradations(),
            previous: &self.conditions,
            generation: None,
            now_millis: now_millis(),
        });
        self.conditions.clone_from(&status.conditions);
        status
    }

    /// What needs a person's eye while the run goes on.
    fn degradations(&self) -> Vec<Degradation> {
        let damaged = (!self.observed.corrupted.is_empty()).then(|| {
            Degradation::new(
                reason::OUTPUT_CORRUPTED,
                "finished work was found damaged or gone and is made again; the run's log names it",
            )
        });
        damaged.into_iter().collect()
    }

    /// What is known of the stages at work.
    fn at_work(&self) -> Vec<AtWork> {
        let shards = |work: &Work| {
            let mine = |running: &&super::Running| {
                running.name == work.name && running.key == work.state.task().key
            };
            let shard = |running: &super::Running| {
                let since_millis = now_millis() - super::millis(running.began.elapsed());
                Some(ShardProgress {
                    shard: running.job.shard()?,
                    since_millis,
                    latest: running.progress.clone(),
                })
            };
            self.running
                .values()
                .filter(mine)
                .filter_map(shard)
                .collect::<Vec<_>>()
        };
        let at_work = |work: &Work| {
            let shards = shards(work);
            AtWork {
                key: work.state.task().key.clone(),
                committed: work.state.committed(),
                failed: work.state.given_up(),
                has_started: !shards.is_empty(),
                shards,
                job: None,
            }
        };
        self.works.iter().map(at_work).collect()
    }

    pub(super) fn write_live(&mut self) {
        let now = Instant::now();
        let event = |index: usize| {
            let (name, progress) = (
                self.works[index].name.clone(),
                self.stage_progress(index, now),
            );
            serde_json::to_value(Event::StageProgressed { name, progress }).ok()
        };
        let is_active = |index: &usize| self.works[*index].state.active() > 0;
        let active = (0..self.works.len())
            .filter(is_active)
            .filter_map(event)
            .collect();
        let live = Live {
            pid: std::process::id(),
            at_millis: now_millis(),
            status: self.status(),
            active,
        };
        live.write(&self.session.directory);
    }

    /// The last status, written for those who look later.
    pub(super) fn finish(&mut self) -> SynthesisRunStatus {
        let status = self.status();
        let live = Live {
            pid: std::process::id(),
            at_millis: now_millis(),
            status: status.clone(),
            active: Vec::new(),
        };
        live.write(&self.session.directory);
        status
    }
}

fn rates(progress: &mut StageProgress, work: &Work, now: Instant) {
    let Some((since, done, tokens)) = work.baseline else {
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
