//! Registers the stages of a plan and starts as many workers as the machine has room for.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::v1alpha1::Stage;
use tokio::sync::watch;

use super::{RunLoop, StageRun, WorkerProcess};
use crate::allocation::{Allocation, AvailableResources, ResourceRequest, allocate};
use crate::attempt::Attempt;
use crate::durable::replace_file;
use crate::lock::{Lock, LockError};
use crate::memory::{stage_gpu_memory, stage_host_memory, stage_memory};
use crate::prune::stage_lock;
use crate::shutdown::Shutdown;
use crate::stage_state::{StageState, WorkItem};

/// Most candidates for the next workers: more than any machine starts at once.
const MAX_CANDIDATES: usize = 256;

impl RunLoop {
    /// Registers the plan's stages, and locks those that no other run computes.
    pub(super) fn register_stages(&mut self) {
        for task in self.last_plan.start.clone() {
            let name = task.id.clone();
            if self
                .stages
                .iter()
                .any(|stage| stage.name == name && stage.state.task().key == task.key)
            {
                continue;
            }
            let percent = i64::from(self.session.run.limits().max_failed_shards_percent);
            let writes_elsewhere = task.id.stage == Stage::Publish;
            let state = StageState::new(task, percent);
            let state = if writes_elsewhere {
                state.rerun()
            } else {
                state
            };
            self.stages.push(StageRun {
                state,
                name,
                lock: None,
                has_reported_wait: false,
                started_at: Instant::now(),
                is_unplanned: false,
                reported_at: None,
                baseline: None,
                tokens: 0,
            });
        }
        // In the order of the plan, whatever order they became known in.
        let order = |stage: &StageRun| {
            self.last_plan
                .start
                .iter()
                .position(|task| task.id == stage.name)
                .unwrap_or(usize::MAX)
        };
        self.stages.sort_by_key(order);
        for index in 0..self.stages.len() {
            if self.stages[index].lock.is_none() && !self.stages[index].is_unplanned {
                self.lock_stage(index);
            }
        }
    }

    /// Locks a stage, so that two runs on one workspace that need the same stage do not both compute it.
    fn lock_stage(&mut self, index: usize) {
        let stage = &self.stages[index];
        let task = stage.state.task();
        let path = stage_lock(&self.session.state, task.id.stage, &task.key);
        match Lock::take(&path, &format!("run {}", self.session.run.name())) {
            Ok(lock) => {
                self.stages[index].lock = Some(lock);
                self.stages[index].started_at = Instant::now();
            }
            Err(LockError::Held { holder }) => {
                // A stage of our own with the same content (two generators alike): its turn comes by itself.
                let is_ours = self
                    .stages
                    .iter()
                    .any(|other| other.lock.is_some() && other.state.task().key == task.key);
                if !is_ours && !stage.has_reported_wait {
                    let message = format!(
                        "{}: waiting for {holder}, which computes the same stage",
                        stage.name
                    );
                    self.stages[index].has_reported_wait = true;
                    self.warn(message);
                }
            }
            Err(error @ LockError::Io { .. }) => {
                self.abort_reason.get_or_insert(error.to_string());
            }
        }
    }

    /// Starts the work items that are ready and fit.
    pub(super) fn start_ready(&mut self) {
        let now = Instant::now();
        let mut waiting: Vec<(usize, WorkItem, ResourceRequest)> = Vec::new();
        for (index, stage) in self.stages.iter().enumerate() {
            if stage.lock.is_some() && !stage.is_unplanned && waiting.len() < MAX_CANDIDATES {
                let items = stage.state.ready(now);
                waiting.extend(
                    items
                        .into_iter()
                        .take(MAX_CANDIDATES)
                        .map(|item| (index, item, self.request(stage, item))),
                );
            }
        }
        let in_use: (usize, i64) = self.workers.values().fold((0, 0), |sum, worker| {
            (sum.0 + worker.cores, sum.1 + worker.memory)
        });
        let free = AvailableResources {
            cores: self.session.machine.cores.saturating_sub(in_use.0),
            memory: self.session.machine.memory - in_use.1,
            gpus: self.free_gpus(),
            idle: self.workers.is_empty(),
        };
        let room = self.session.limit.saturating_sub(self.workers.len());
        let requests: Vec<ResourceRequest> =
            waiting.iter().map(|(_, _, request)| *request).collect();
        for ((index, item, request), given) in
            waiting.into_iter().zip(allocate(&free, &requests, room))
        {
            if let Err(message) = self.start(index, item, request, given) {
                self.abort_reason.get_or_insert(message);
                return;
            }
        }
    }

    /// The GPUs that no worker holds, with the memory that was free on each at the beginning.
    fn free_gpus(&self) -> Vec<(usize, i64)> {
        let is_in_use = |place: usize| self.workers.values().any(|each| each.gpu == Some(place));
        let gpus = self.session.gpus.all.iter().map(|gpu| gpu.free).enumerate();
        gpus.filter(|(place, _)| !is_in_use(*place)).collect()
    }

    fn request(&self, stage: &StageRun, item: WorkItem) -> ResourceRequest {
        let task = stage.state.task();
        let spec = self.session.run.spec();
        let facts = &self.session.record.preflight.models;
        let (generator, on) = (task.id.generator.as_deref(), self.session.gpus.on);
        match item {
            WorkItem::Shard(_) => ResourceRequest {
                memory: stage_host_memory(task.id.stage, generator, spec, facts, on),
                max_cores: usize::MAX,
                gpu: stage_gpu_memory(task.id.stage, generator, spec, facts, on),
            },
            // Checking digests and writing rejects: a core each, next to no memory.
            WorkItem::Seal | WorkItem::MarkFailed(_) => ResourceRequest {
                memory: stage_memory(Stage::Filter, None, spec, facts),
                max_cores: 1,
                gpu: None,
            },
        }
    }

    /// Starts one worker.
    fn start(
        &mut self,
        index: usize,
        item: WorkItem,
        request: ResourceRequest,
        given: Allocation,
    ) -> Result<(), String> {
        let Allocation { cores, gpu } = given;
        let visible = self.session.gpus.are_assigned.then(|| self.uuid(gpu));
        let task_file = self.write_task(index)?;
        let stage = &mut self.stages[index];
        let task = stage.state.task().clone();
        let number = stage.state.begin_attempt(item);
        let stem = format!(
            "{}-{}",
            stage.name.file_stem(),
            &task.key[..task.key.len().min(8)]
        );
        let (what, mut arguments) = match item {
            WorkItem::Seal => ("seal".to_string(), vec!["seal".to_string()]),
            WorkItem::Shard(shard) | WorkItem::MarkFailed(shard) => {
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
        match item {
            WorkItem::MarkFailed(_) => arguments.push("--mark-failed".into()),
            WorkItem::Shard(_) => mark_started(&task_file),
            WorkItem::Seal => {}
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
        let (shutdown, asked) = watch::channel(Shutdown::None);
        self.workers.insert(
            id,
            WorkerProcess {
                key: task.key,
                name: stage.name.clone(),
                item,
                number,
                cores,
                memory: request.memory,
                gpu,
                started_at: Instant::now(),
                charged: Duration::ZERO,
                progress: Progress::default(),
                shutdown,
                log: attempt.log.display().to_string(),
            },
        );
        tracing::info!(stage = %stage.name, ?item, cores, gpu, attempt = number, "worker started");
        let progress_channel = self.progress_channel.0.clone();
        self.attempts.spawn(async move {
            // The run loop lives as long as its workers do.
            let tell = |progress| drop(progress_channel.send((id, progress)));
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
        let task = self.stages[index].state.task();
        let path = self.session.directory.join("tasks").join(format!(
            "{}-{}.json",
            self.stages[index].name.file_stem(),
            task.key
        ));
        let json =
            serde_json::to_vec(task).map_err(|error| format!("cannot write a task: {error}"))?;
        if std::fs::read(&path).is_ok_and(|there| there == json) {
            return Ok(path);
        }
        replace_file(&path, &json).map_err(|error| {
            format!(
                "cannot write {}: {error}; fix that, then run the same command again to resume",
                path.display()
            )
        })?;
        Ok(path)
    }
}

/// Notes that this run has started to compute a stage: what it finds finished later is then its own, not reused.
fn mark_started(task_file: &std::path::Path) {
    // Lost, it would only make the usage of a resumed stage look reused.
    let _ = std::fs::File::create(started_marker(task_file));
}

/// The file that says that this run has computed part of a stage.
pub(super) fn started_marker(task_file: &std::path::Path) -> PathBuf {
    task_file.with_extension("started")
}
