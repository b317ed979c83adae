//! Takes up the stages of a plan and starts as many workers as the machine has room for.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::v1alpha1::Stage;
use tokio::sync::watch;

use super::{Driver, Running, Work};
use crate::attempt::Attempt;
use crate::durable::replace_file;
use crate::lock::{Lock, LockError};
use crate::memory::{stage_gpu_memory, stage_host_memory, stage_memory};
use crate::prune::stage_lock;
use crate::share::{Free, Need, Share, share};
use crate::stage_work::{Job, StageWork};
use crate::stop::Stop;

/// Waiting workers that are looked at: more than any machine starts at once.
const LOOK_AHEAD: usize = 256;

impl Driver {
    /// Makes the plan's stages known here, and locks those that nobody else works on.
    pub(super) fn take_up(&mut self) {
        for task in self.last_plan.start.clone() {
            let name = task.id.clone();
            if self
                .works
                .iter()
                .any(|work| work.name == name && work.state.task().key == task.key)
            {
                continue;
            }
            let percent = i64::from(self.session.run.limits().max_failed_shards_percent);
            let writes_elsewhere = task.id.stage == Stage::Publish;
            let state = StageWork::new(task, percent);
            let state = if writes_elsewhere {
                state.make_again()
            } else {
                state
            };
            self.works.push(Work {
                state,
                name,
                lock: None,
                told_wait: false,
                began: Instant::now(),
                dropped: false,
                shown: None,
                baseline: None,
                tokens: 0,
            });
        }
        // In the order of the plan, whatever order they became known in.
        let order = |work: &Work| {
            self.last_plan
                .start
                .iter()
                .position(|task| task.id == work.name)
                .unwrap_or(usize::MAX)
        };
        self.works.sort_by_key(order);
        for index in 0..self.works.len() {
            if self.works[index].lock.is_none() && !self.works[index].dropped {
                self.lock_stage(index);
            }
        }
    }

    /// Locks a stage, so that two runs on one workspace that need the same stage do not both make it.
    fn lock_stage(&mut self, index: usize) {
        let work = &self.works[index];
        let task = work.state.task();
        let path = stage_lock(&self.session.state, task.id.stage, &task.key);
        match Lock::take(&path, &format!("run {}", self.session.run.name())) {
            Ok(lock) => {
                self.works[index].lock = Some(lock);
                self.works[index].began = Instant::now();
            }
            Err(LockError::Held { holder }) => {
                // A stage of our own with the same content (two generators alike): its turn comes by itself.
                let is_ours = self
                    .works
                    .iter()
                    .any(|other| other.lock.is_some() && other.state.task().key == task.key);
                if !is_ours && !work.told_wait {
                    let message = format!(
                        "{}: waiting for {holder}, which makes the same stage",
                        work.name
                    );
                    self.works[index].told_wait = true;
                    self.warn(message);
                }
            }
            Err(LockError::Io { path, source }) => {
                self.broken
                    .get_or_insert(format!("cannot lock {path}: {source}"));
            }
        }
    }

    /// Starts what is ready and fits.
    pub(super) fn start_ready(&mut self) {
        let now = Instant::now();
        let mut waiting: Vec<(usize, Job, Need)> = Vec::new();
        for (index, work) in self.works.iter().enumerate() {
            if work.lock.is_some() && !work.dropped && waiting.len() < LOOK_AHEAD {
                let jobs = work.state.ready(now);
                waiting.extend(
                    jobs.into_iter()
                        .take(LOOK_AHEAD)
                        .map(|job| (index, job, self.need(work, job))),
                );
            }
        }
        let held: (usize, i64) = self.running.values().fold((0, 0), |sum, running| {
            (sum.0 + running.cores, sum.1 + running.memory)
        });
        let free = Free {
            cores: self.session.machine.cores.saturating_sub(held.0),
            memory: self.session.machine.memory - held.1,
            gpus: self.free_gpus(),
            idle: self.running.is_empty(),
        };
        let room = self.session.limit.saturating_sub(self.running.len());
        let needs: Vec<Need> = waiting.iter().map(|(_, _, need)| *need).collect();
        for ((index, job, need), given) in waiting.into_iter().zip(share(&free, &needs, room)) {
            if let Err(message) = self.start(index, job, need, given) {
                self.broken.get_or_insert(message);
                return;
            }
        }
    }

    /// The GPUs that no worker holds, with the memory that was free on each at the beginning.
    fn free_gpus(&self) -> Vec<(usize, i64)> {
        let is_held = |place: usize| self.running.values().any(|each| each.gpu == Some(place));
        let gpus = self.session.gpus.all.iter().map(|gpu| gpu.free).enumerate();
        gpus.filter(|(place, _)| !is_held(*place)).collect()
    }

    fn need(&self, work: &Work, job: Job) -> Need {
        let task = work.state.task();
        let spec = self.session.run.spec();
        let facts = &self.session.record.preflight.models;
        let (generator, on) = (task.id.generator.as_deref(), self.session.gpus.on);
        match job {
            Job::Shard(_) => Need {
                memory: stage_host_memory(task.id.stage, generator, spec, facts, on),
                max_cores: usize::MAX,
                gpu: stage_gpu_memory(task.id.stage, generator, spec, facts, on),
            },
            // Checking digests and writing rejects: a core each, next to no memory.
            Job::Seal | Job::GiveUp(_) => Need {
                memory: stage_memory(Stage::Filter, None, spec, facts),
                max_cores: 1,
                gpu: None,
            },
        }
    }

    /// Starts one worker.
    fn start(&mut self, index: usize, job: Job, need: Need, given: Share) -> Result<(), String> {
        let Share { cores, gpu } = given;
        let visible = self.session.gpus.told.then(|| self.uuid(gpu));
        let task_file = self.write_task(index)?;
        let work = &mut self.works[index];
        let task = work.state.task().clone();
        let number = work.state.started(job);
        let stem = format!(
            "{}-{}",
            work.name.file_stem(),
            &task.key[..task.key.len().min(8)]
        );
        let (what, mut arguments) = match job {
            Job::Seal => ("seal".to_string(), vec!["seal".to_string()]),
            Job::Shard(shard) | Job::GiveUp(shard) => {
                let stop_with_us = "--stop-on-stdin-eof".to_string();
                (
                    format!("shard-{shard}"),
                    vec![
                        "run".to_string(),
                        "--shard".into(),
                        shard.to_string(),
                        stop_with_us,
                    ],
                )
            }
        };
        match job {
            Job::GiveUp(_) => arguments.push("--mark-failed".into()),
            Job::Shard(_) => mark_begun(&task_file),
            Job::Seal => {}
        }
        arguments.extend(["--task".to_string(), task_file.display().to_string()]);
        let directory = &self.session.directory;
        let attempt = Attempt {
            program: self.session.program.clone(),
            arguments,
            report: directory
                .join("reports")
                .join(format!("{stem}-{what}.json")),
            log: directory
                .join("logs")
                .join(format!("{stem}-{what}-attempt-{number}.log")),
            cores,
            gpu: visible,
        };
        let id = self.next_id;
        self.next_id += 1;
        let (stop, asked) = watch::channel(Stop::No);
        self.running.insert(
            id,
            Running {
                key: task.key,
                name: work.name.clone(),
                job,
                number,
                cores,
                memory: need.memory,
                gpu,
                began: Instant::now(),
                charged: Duration::ZERO,
                progress: Progress::default(),
                stop,
                log: attempt.log.display().to_string(),
            },
        );
        tracing::info!(stage = %work.name, ?job, cores, gpu, attempt = number, "worker started");
        let said = self.said.0.clone();
        self.attempts.spawn(async move {
            // The driver lives as long as its workers do.
            let tell = |progress| drop(said.send((id, progress)));
            (id, attempt.run(asked, tell).await)
        });
        Ok(())
    }

    /// The UUID of a GPU; empty for none.
    fn uuid(&self, gpu: Option<usize>) -> String {
        let gpu = gpu.and_then(|place| self.session.gpus.all.get(place));
        gpu.map(|gpu| gpu.uuid.clone()).unwrap_or_default()
    }

    /// Writes the stage's task where workers read it.
    fn write_task(&self, index: usize) -> Result<PathBuf, String> {
        let task = self.works[index].state.task();
        let path = self.session.directory.join("tasks").join(format!(
            "{}-{}.json",
            self.works[index].name.file_stem(),
            task.key
        ));
        let json =
            serde_json::to_vec(task).map_err(|error| format!("cannot write a task: {error}"))?;
        if std::fs::read(&path).is_ok_and(|there| there == json) {
            return Ok(path);
        }
        replace_file(&path, &json).map_err(|error| {
            format!(
                "cannot write {}: {error}; mend that, then the same command goes on",
                path.display()
            )
        })?;
        Ok(path)
    }
}

/// Notes that this run has begun to compute a stage: what it finds finished later is then its own, not reused.
fn mark_begun(task_file: &std::path::Path) {
    // Lost, it would only make the usage of a resumed stage look reused.
    let _ = std::fs::File::create(begun_marker(task_file));
}

/// The file that says that this run has computed part of a stage.
pub(super) fn begun_marker(task_file: &std::path::Path) -> PathBuf {
    task_file.with_extension("begun")
}
