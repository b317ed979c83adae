//! The worker of simulated pods: it does no work, but answers every task as the real one would, from a store that it only imagines. What it
//! answers follows from the task alone.

mod fault_plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{Api, Client, ResourceExt};
use scalequest_crds::digest::sha256_hex;
use scalequest_crds::protocol::exit_codes::worker::{
    DONE, SHARD_FAILED_PERMANENTLY, STOPPED, of_cause,
};
use scalequest_crds::protocol::preflight::{FileFacts, ModelFacts, PreflightReport, parts};
use scalequest_crds::protocol::report::{Counts, Outcome, StageReport};
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::{RejectReason, Stage, SynthesisRun};

use super::namespace::Namespace;
use super::simulated::{Ending, Script};

pub use fault_plan::{Failure, FaultPlan, PausedWorker};

/// Share of its rows that a stage of a wave keeps, in percent.
const KEPT_PERCENT: i64 = 80;

/// What simulated workers have made.
#[derive(Debug, Default)]
pub struct SimulatedStore {
    fault_plan: FaultPlan,
    done: fault_plan::FaultState,
    shards: Mutex<BTreeMap<String, BTreeSet<i64>>>,
    asked: Mutex<BTreeMap<(String, i64), usize>>,
    /// Workspaces that hold something.
    used: Mutex<BTreeSet<String>>,
    outage_is_over: AtomicBool,
}

impl Namespace {
    /// From now on, simulated pods here are workers on one store.
    pub fn simulate_workers(&self, store: &Arc<SimulatedStore>) -> Script {
        let (client, store) = (self.client(), Arc::clone(store));
        self.pods_end(Ending::new(STOPPED, ""), move |pod| {
            let (client, store) = (client.clone(), Arc::clone(&store));
            async move { store.ending(&client, &pod).await }
        })
    }
}

impl SimulatedStore {
    /// Creates a store whose workers have these faults.
    pub fn with(fault_plan: FaultPlan) -> Self {
        SimulatedStore {
            fault_plan,
            ..SimulatedStore::default()
        }
    }

    /// Ends the outage of the fault plan.
    pub fn end_outage(&self) {
        self.outage_is_over.store(true, Ordering::Relaxed);
    }

    /// How often each shard was made, by content key and index.
    pub fn asked(&self) -> BTreeMap<(String, i64), usize> {
        self.asked.lock().expect("no panic while locked").clone()
    }

    async fn ending(&self, client: &Client, pod: &Pod) -> Option<Ending> {
        let label = |name: &str| pod.labels().get(name).cloned().unwrap_or_default();
        let index = index(pod)?;
        let message = match label("scalequest.dev/purpose").as_str() {
            "preflight" => {
                let spec = carried(client, pod, "spec.json").await?;
                serde_json::to_string(&self.preflight(&spec, index)?).ok()?
            }
            "seal" => {
                let task = task(client, pod).await?;
                self.said(&task, &self.seal(&task))
            }
            purpose => {
                let task = task(client, pod).await?;
                let name = pod.name_any();
                let has_waited = self.fault_plan.pause(&task, &name, &self.done).await;
                if has_waited && !is_at_work(client, pod).await {
                    return None;
                }
                if let Some(ending) = self.failed_by_outage(&task, index) {
                    return Some(ending);
                }
                if purpose == "probe" {
                    let done = Outcome::Done { reused: false };
                    let message = report(&task, None, 0, done).to_bounded_json();
                    return Some(Ending::new(DONE, message));
                }
                let failure = || self.fault_plan.failure(&task, &self.done);
                if let Some(failure) = (purpose == "run").then(failure).flatten() {
                    return Some(failed(&task, index, failure));
                }
                if purpose == "run" && self.fault_plan.fails(&task, index) {
                    let message = format!("row of shard {index} cannot be read");
                    let failed = report(&task, Some(index), 0, Outcome::Failed { message });
                    return Some(Ending::new(
                        SHARD_FAILED_PERMANENTLY,
                        failed.to_bounded_json(),
                    ));
                }
                self.said(&task, &self.run(&task, index))
            }
        };
        Some(Ending::new(DONE, message))
    }

    /// How the outage of the fault plan ends a worker or a probe of its stage.
    fn failed_by_outage(&self, task: &StageTask, index: i64) -> Option<Ending> {
        let is_over = self.outage_is_over.load(Ordering::Relaxed);
        let cause = self.fault_plan.outage(task).filter(|_| !is_over)?;
        Some(failed(task, index, Failure::Reports(cause)))
    }

    /// What arrives of a report.
    fn said(&self, task: &StageTask, report: &StageReport) -> String {
        let is_seal = matches!(report.outcome, Outcome::Sealed { .. });
        match is_seal && self.fault_plan.loses_report(task, &self.done) {
            true => String::new(),
            false => report.to_bounded_json(),
        }
    }

    fn preflight(&self, spec: &str, index: i64) -> Option<PreflightReport> {
        let run: SynthesisRun = serde_json::from_str(spec).ok()?;
        let (_, workspace) = run.spec.workspace.located()?;
        let used = self.used.lock().expect("no panic while locked");
        preflight(&run, index, !used.contains(&workspace))
    }

    fn run(&self, task: &StageTask, shard: i64) -> StageReport {
        let mut used = self.used.lock().expect("no panic while locked");
        used.insert(task.workspace.clone());
        drop(used);
        let mut asked = self.asked.lock().expect("no panic while locked");
        *asked.entry((task.key.clone(), shard)).or_default() += 1;
        let mut shards = self.shards.lock().expect("no panic while locked");
        let made = shards.entry(task.key.clone()).or_default();
        let is_new = made.insert(shard);
        if is_new && i64::try_from(made.len()) == Ok(task.shards()) {
            return sealed(task);
        }
        let rows = task.range(shard);
        report(
            task,
            Some(shard),
            rows.end - rows.start,
            Outcome::Done { reused: !is_new },
        )
    }

    fn seal(&self, task: &StageTask) -> StageReport {
        let shards = self.shards.lock().expect("no panic while locked");
        let made = shards.get(&task.key).cloned().unwrap_or_default();
        let missing: Vec<i64> = (0..task.shards())
            .filter(|shard| !made.contains(shard))
            .collect();
        if missing.is_empty() {
            return sealed(task);
        }
        let total = i64::try_from(missing.len()).unwrap_or(i64::MAX);
        let shards = missing.into_iter().collect();
        report(task, None, 0, Outcome::Missing { shards, total })
    }
}

/// How a worker ends that fails.
fn failed(task: &StageTask, index: i64, failure: Failure) -> Ending {
    match failure {
        Failure::Reports(cause) => {
            let message = format!("the world refuses stage {}", task.id.stage);
            let outcome = Outcome::Transient { cause, message };
            let failed = report(task, Some(index), 0, outcome);
            Ending::new(of_cause(cause), failed.to_bounded_json())
        }
        Failure::Exits(code) => Ending::new(code, ""),
        Failure::Ended(by) => Ending::by(by),
    }
}

fn sealed(task: &StageTask) -> StageReport {
    let rows = if task.id.stage.makes_a_model() {
        0
    } else {
        kept(task, task.rows)
    };
    let digest = sha256_hex(format!("{} {rows}", task.key).as_bytes());
    let rows = BTreeMap::from([("rows".into(), rows)]);
    report(task, None, task.rows, Outcome::Sealed { digest, rows })
}

fn kept(task: &StageTask, rows: i64) -> i64 {
    if (Stage::Generate..=Stage::Verify).contains(&task.id.stage) {
        rows * KEPT_PERCENT / 100
    } else {
        rows
    }
}

fn report(task: &StageTask, shard: Option<i64>, rows: i64, outcome: Outcome) -> StageReport {
    let rows_out = kept(task, rows);
    let dropped = (rows_out < rows).then_some((RejectReason::ALL[0], rows - rows_out));
    StageReport {
        stage: task.id.stage,
        key: task.key.clone(),
        shard,
        outcome,
        counts: Counts {
            rows_in: rows,
            rows_out,
            dropped: dropped.into_iter().collect(),
            tokens_in: rows * 50,
            tokens_out: rows * 90,
        },
        histograms: Vec::new(),
        backends: vec!["reference-f32".into()],
        worker_millis: 1,
        gpu_millis: 0,
        warnings: Vec::new(),
    }
}

/// The findings of one part of a spec's preflight.
fn preflight(run: &SynthesisRun, index: i64, is_empty: bool) -> Option<PreflightReport> {
    let part = parts(&run.spec)
        .into_iter()
        .nth(usize::try_from(index).ok()?)?;
    let model = |name: &str| ModelFacts {
        name: name.into(),
        digest: sha256_hex(name.as_bytes()),
        architecture: "llama".into(),
        parameters: 1_000_000,
        serving_bytes: 4_000_000,
        context_token_bytes: 1 << 10,
        training_bytes: 16_000_000,
        context_length: 2048,
        has_chat_template: true,
        head: "languageModel".into(),
        license: None,
    };
    let file = |number: usize| FileFacts {
        location: String::new(),
        digest: sha256_hex(number.to_string().as_bytes()),
        rows: 300,
        with_answers: 300,
    };
    Some(PreflightReport {
        models: run.spec.models[part.models]
            .iter()
            .map(|each| model(&each.name))
            .collect(),
        seed_questions: part.seed_questions.map(file).collect(),
        benchmarks: part.benchmarks.map(file).collect(),
        workspace_is_empty: is_empty && part.places,
        ..PreflightReport::default()
    })
}

/// The shard that a pod is to make, or the part it is to look at.
fn index(pod: &Pod) -> Option<i64> {
    let annotations = pod.annotations();
    let index = annotations.get("batch.kubernetes.io/job-completion-index")?;
    let index: usize = index.parse().ok()?;
    let Some(among) = annotations.get("scalequest.dev/shard-indexes") else {
        return i64::try_from(index).ok();
    };
    let ranges = among.split(',').filter_map(|part| {
        let (start, end) = part.split_once('-').unwrap_or((part, part));
        Some(start.parse::<i64>().ok()?..=end.parse::<i64>().ok()?)
    });
    ranges.flatten().nth(index)
}

async fn task(client: &Client, pod: &Pod) -> Option<StageTask> {
    serde_json::from_str(&carried(client, pod, "task.json").await?).ok()
}

/// The file of a pod's task, from where it has it mounted.
async fn carried(client: &Client, pod: &Pod, file: &str) -> Option<String> {
    match pod.annotations().get("scalequest.dev/task") {
        Some(text) => Some(text.clone()),
        None => mounted(client, pod, file).await,
    }
}

/// A file of the ConfigMap that a pod mounts as its task.
async fn mounted(client: &Client, pod: &Pod, file: &str) -> Option<String> {
    let volumes = pod.spec.as_ref()?.volumes.as_ref()?;
    let task = volumes.iter().find(|volume| volume.name == "task")?;
    let name = &task.config_map.as_ref()?.name;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &pod.namespace()?);
    for _ in 0..100 {
        if let Ok(map) = maps.get(name).await {
            return map.data?.remove(file);
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    None
}

/// Whether a pod is still there and may go on.
async fn is_at_work(client: &Client, pod: &Pod) -> bool {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let now = pods.get_opt(&pod.name_any()).await.ok().flatten();
    now.is_some_and(|now| now.uid() == pod.uid() && now.metadata.deletion_timestamp.is_none())
}
