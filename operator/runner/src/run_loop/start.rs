//! Registers the stages of a plan and starts as many workers as the machine has room for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use scalequest_core::retry::SHARD_RETRIES;
use scalequest_core::stage_machine::{FailureLimits, StageMachine, WorkItem};
use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Stage;
use tokio::sync::watch;

use super::{RunLoop, StageRun, WorkerProcess};
use crate::allocation::{Allocation, AvailableResources, ResourceRequest, allocate};
use crate::attempt::Attempt;
use crate::durable::replace_file;
use crate::lock::{Lock, LockError};
use crate::machine::now_millis;
use crate::prune::stage_lock;
use crate::shutdown::Shutdown;
use scalequest_core::memory::{BASE_BYTES, stage_memory};

/// Most candidates for the next workers: more than any machine starts at once.
const MAX_CANDIDATES: usize = 256;

impl RunLoop {
    /// Registers the plan's stages, and locks those that no other run computes.
    pub(super) fn register_stages(&mut self) {
        let limits = FailureLimits {
            shard_retries: SHARD_RETRIES,
            max_failed_percent: i64::from(self.session.run.limits().max_failed_shards_percent),
        };
        for task in &self.last_plan.start {
            if self.stages.iter().any(|stage| stage.computes(task)) {
                continue;
            }
            let machine = StageMachine::new(task.clone(), limits, BTreeSet::new());
            self.stages.push(StageRun {
                machine: match task.id.stage {
                    // The dataset lies outside of the workspace and may be gone.
                    Stage::Publish => machine.run_first(),
                    _ => machine,
                },
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
        self.stages.sort_by_key(|stage| {
            let mut start = self.last_plan.start.iter();
            let position = start.position(|task| task.id == stage.task().id);
            position.unwrap_or(usize::MAX)
        });
        for index in 0..self.stages.len() {
            if self.stages[index].lock.is_none() && !self.stages[index].is_unplanned {
                self.lock_stage(index);
            }
        }
    }

    /// Locks a stage, so that two runs on one workspace that need the same stage do not both compute it.
    fn lock_stage(&mut self, index: usize) {
        let stage = &self.stages[index];
        let task = stage.task();
        let path = stage_lock(&self.session.state, task.id.stage, &task.key);
        match Lock::take(&path, &format!("run {}", self.session.run.name())) {
            Ok(lock) => {
                self.stages[index].lock = Some(lock);
                self.stages[index].started_at = Instant::now();
            }
            Err(LockError::Held { holder }) => {
                // A stage of our own with the same content (two generators alike): its turn comes by itself.
                let mut locked = self.stages.iter().filter(|other| other.lock.is_some());
                let is_ours = locked.any(|other| other.task().key == task.key);
                if !is_ours && !stage.has_reported_wait {
                    let message = format!(
                        "{}: waiting for {holder}, which computes the same stage",
                        task.id
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
        let now = now_millis();
        let startable = self.stages.iter().enumerate();
        let startable = startable.filter(|(_, stage)| stage.lock.is_some() && !stage.is_unplanned);
        let waiting: Vec<(usize, WorkItem)> = startable
            .flat_map(|(index, stage)| {
                stage
                    .machine
                    .ready(now)
                    .into_iter()
                    .map(move |item| (index, item))
            })
            .take(MAX_CANDIDATES)
            .collect();
        let requests: Vec<ResourceRequest> = waiting
            .iter()
            .map(|(index, item)| self.request(self.stages[*index].task(), *item))
            .collect();
        let workers = || self.workers.values();
        let cores_in_use: usize = workers().map(|worker| worker.cores).sum();
        let memory_in_use: i64 = workers().map(|worker| worker.memory).sum();
        let free = AvailableResources {
            cores: self.session.machine.cores.saturating_sub(cores_in_use),
            memory: self.session.machine.memory - memory_in_use,
            gpus: self.free_gpus(),
            idle: self.workers.is_empty(),
        };
        let limit = self.session.options.workers.unwrap_or(usize::MAX);
        let room = limit.saturating_sub(self.workers.len());
        let allocations = allocate(&free, &requests, room);
        for (((index, item), request), given) in waiting.into_iter().zip(requests).zip(allocations)
        {
            if let Err(message) = self.start(index, item, request.memory, given) {
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

    fn request(&self, task: &StageTask, item: WorkItem) -> ResourceRequest {
        match item {
            WorkItem::Shard(_) => {
                let memory = stage_memory(
                    task.id.stage,
                    task.id.generator.as_deref(),
                    self.session.run.spec(),
                    &self.session.record.preflight.models,
                    self.session.gpus.on,
                );
                ResourceRequest {
                    memory: memory.host,
                    max_cores: usize::MAX,
                    gpu: memory.gpu,
                }
            }
            // Checking digests and writing rejects: a core each, next to no memory.
            WorkItem::Seal | WorkItem::MarkFailed(_) => ResourceRequest {
                memory: BASE_BYTES,
                max_cores: 1,
                gpu: None,
            },
        }
    }

    /// Starts one worker, which takes so much `memory`.
    fn start(
        &mut self,
        index: usize,
        item: WorkItem,
        memory: i64,
        given: Allocation,
    ) -> Result<(), String> {
        let task = self.stages[index].task().clone();
        let task_file = self.write_task(&task)?;
        let number = self.stages[index].machine.begin_attempt(item);
        if let WorkItem::Shard(_) = item {
            mark_started(&task_file);
        }
        let what = match item.shard() {
            Some(shard) => format!("shard-{shard}"),
            None => "seal".to_string(),
        };
        let log = format!("{what}-attempt-{number}");
        let Allocation { cores, gpu } = given;
        let mut attempt = Attempt {
            cores,
            ..self.attempt(&task, &what, &log, arguments(item, &task_file))
        };
        if let (Some(visible), Some(gpu)) = (&mut attempt.gpu, gpu) {
            visible.clone_from(&self.session.gpus.all[gpu].uuid);
        }
        let id = self.next_id;
        self.next_id += 1;
        tracing::info!(stage = %task.id, ?item, cores, gpu, attempt = number, "worker started");
        let (shutdown, asked) = watch::channel(Shutdown::None);
        let worker = WorkerProcess {
            task,
            item,
            number,
            cores,
            memory,
            gpu,
            started_at: Instant::now(),
            charged: Duration::ZERO,
            progress: Progress::default(),
            shutdown,
            log: attempt.log.clone(),
        };
        self.workers.insert(id, worker);
        let progress_channel = self.progress_channel.0.clone();
        self.attempts.spawn(async move {
            // The run loop lives as long as its workers do.
            let tell = |progress| drop(progress_channel.send((id, progress)));
            (id, attempt.run(asked, tell).await)
        });
        Ok(())
    }

    /// Writes a task where workers read it.
    fn write_task(&self, task: &StageTask) -> Result<PathBuf, String> {
        let path = self.task_file(task);
        let json =
            serde_json::to_vec(task).map_err(|error| format!("cannot write a task: {error}"))?;
        if std::fs::read(&path).is_ok_and(|there| there == json) {
            return Ok(path);
        }
        replace_file(&path, &json)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(path)
    }
}

/// The arguments of the worker that does a work item of a task.
pub(super) fn arguments(item: WorkItem, task_file: &Path) -> Vec<String> {
    let index = item.shard().unwrap_or_default().to_string();
    let what: &[&str] = match item {
        WorkItem::Seal => &["seal"],
        WorkItem::Shard(_) => &["run", "--shard", &index, "--stop-on-stdin-eof"],
        WorkItem::MarkFailed(_) => &[
            "run",
            "--shard",
            &index,
            "--stop-on-stdin-eof",
            "--mark-failed",
        ],
    };
    let task_file = task_file.display().to_string();
    let arguments = what.iter().copied().chain(["--task", &task_file]);
    arguments.map(String::from).collect()
}

/// Notes that this run has started to compute a stage: what it finds finished later is then its own, not reused.
fn mark_started(task_file: &Path) {
    // Lost, it would only make the usage of a resumed stage look reused.
    let _ = std::fs::File::create(started_marker(task_file));
}

/// The file that says that this run has computed part of a stage.
pub(super) fn started_marker(task_file: &Path) -> PathBuf {
    task_file.with_extension("started")
}
