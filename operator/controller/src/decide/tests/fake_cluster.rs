//! A fake cluster in memory: an API server that applies the writes of a reconcile one by one and may crash after any of them, a Job controller,
//! and workers whose results are a function of their task.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::protocol::preflight::{FileFacts, ModelFacts, PreflightReport, parts};
use scalequest_crds::protocol::report::{Outcome, StageReport};
use scalequest_crds::protocol::shard_set::ShardSet;
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::{Stage, SynthesisRun};

use crate::decide::{Actions, ReconcileInput, decide};
use crate::names::{JobIdentity, Purpose, TASK_ANNOTATION};
use crate::observe::OwnedObjects;
use crate::observe::cache::Reduce;
use crate::observe::config_map::ObservedConfigMap;
use crate::observe::job::ObservedJob;
use crate::observe::pod::{ObservedPod, Termination, TerminationMessage};
use crate::resources::Owner;
use crate::resources::config_maps::{TASK, record_map};
use crate::settings::Settings;
use scalequest_core::parse::parse;
use scalequest_core::plan::simulation::FakeWorkspace as Results;
use scalequest_core::record::RunRecord;

/// A run for a cluster, with `more` lines in its spec.
pub fn run(more: &str) -> SynthesisRun {
    let text = format!(
        "apiVersion: scalequest.dev/v1alpha1
kind: SynthesisRun
metadata: {{name: math}}
spec:
  recipe: Math
  seed: 5
  target: {{examples: 40, maxWaves: 20}}
  models: [{{name: m, source: {{claim: {{name: models, subPath: m.gguf}}}}}}]
  seedQuestions: [{{claim: {{name: models, subPath: seeds.jsonl}}, answerField: answer}}]
  generators:
  - {{name: g, model: m, qpo: {{pairs: 20}}}}
  filters: {{language: {{}}, duplicates: {{}}, solvability: {{}}}}
  responses: {{model: m}}
  workspace: {{claim: {{name: work, subPath: scalequest}}}}
  output: {{claim: {{name: out, subPath: math}}}}
{more}"
    );
    let mut run = parse(&text).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
    run.metadata.uid = Some("uid-1".into());
    run.metadata.namespace = Some("team".into());
    run.metadata.generation = Some(1);
    run
}

/// The cluster.
pub struct FakeCluster {
    pub run: SynthesisRun,
    pub settings: Settings,
    pub jobs: BTreeMap<String, Job>,
    pub pods: Vec<ObservedPod>,
    pub maps: BTreeMap<String, ConfigMap>,
    /// Shards in the workspace, by content key.
    pub shards: BTreeMap<String, BTreeSet<i64>>,
    /// Shards that no worker can make, by stage.
    pub poison: BTreeMap<Stage, BTreeSet<i64>>,
    /// Stages whose workers find a disk full, once.
    pub disk_full: BTreeSet<Stage>,
    /// Stages whose output is found corrupt by its reader, once.
    pub corruption: BTreeSet<Stage>,
    /// Whether stages are sealed with their last shard.
    pub seals_last: bool,
    /// Faults that the preflight finds.
    pub errors: Vec<scalequest_crds::protocol::preflight::FieldError>,
    /// Jobs that were made, in order.
    pub made: Vec<JobIdentity>,
    /// Shards that were computed.
    pub computed: Vec<(String, i64)>,
    pub now_millis: i64,
    pub writes: usize,
    /// Writes of the record.
    pub saves: usize,
    /// How long every pod's worker runs.
    pub pod_millis: i64,
    next: u64,
}

impl FakeCluster {
    pub fn new(run: SynthesisRun) -> FakeCluster {
        FakeCluster {
            run,
            settings: Settings::default(),
            jobs: BTreeMap::new(),
            pods: Vec::new(),
            maps: BTreeMap::new(),
            shards: BTreeMap::new(),
            poison: BTreeMap::new(),
            disk_full: BTreeSet::new(),
            corruption: BTreeSet::new(),
            seals_last: true,
            errors: Vec::new(),
            made: Vec::new(),
            computed: Vec::new(),
            now_millis: 1_000_000,
            writes: 0,
            saves: 0,
            pod_millis: 1_000,
            next: 1,
        }
    }

    /// Adds a pod of each active Job whose worker runs.
    pub fn start_pods(&mut self) {
        let started_at_millis = Some(self.now_millis);
        for job in self.owned().jobs.iter().filter(|job| job.is_active()) {
            self.pods.push(ObservedPod {
                started_at_millis,
                termination: None,
                ..pod_of(job, 0, self.now_millis)
            });
        }
    }

    /// Returns the objects that the controller observes.
    pub fn owned(&self) -> OwnedObjects {
        let uid = self.run.uid().unwrap();
        let kept = |job: &Job| ObservedJob::reduce(job, &uid).map(Arc::new);
        let mut jobs: Vec<_> = self.jobs.values().filter_map(kept).collect();
        jobs.sort_by_key(|job| job.identity.attempt);
        let maps = self
            .maps
            .values()
            .filter_map(|map| ObservedConfigMap::reduce(map, &uid).map(Arc::new));
        OwnedObjects {
            jobs,
            warnings: BTreeMap::new(),
            progress: BTreeMap::new(),
            pods: self.pods.iter().cloned().map(Arc::new).collect(),
            maps: maps.collect(),
        }
    }

    /// Returns the actions that the controller decides.
    pub fn decide(&self) -> Actions {
        decide(&ReconcileInput {
            run: &self.run,
            owned: &self.owned(),
            settings: &self.settings,
            now_millis: self.now_millis,
        })
    }

    /// Applies actions, write by write, and stops after `most` of them.
    pub fn apply(&mut self, actions: &Actions, most: usize) {
        let mut left = most;
        let mut may = || {
            let may = left > 0;
            left = left.saturating_sub(1);
            may
        };
        if let Some(save) = &actions.save {
            if !may() {
                return;
            }
            self.writes += 1;
            self.saves += 1;
            let owner = Owner::of(&self.run);
            let mut map = record_map(&owner, &save.record, None);
            let there = self.maps.get(&map.name_any());
            let version = there.and_then(|there| there.resource_version());
            assert_eq!(
                version, save.version,
                "a record was saved that is not the next one"
            );
            self.stamp(&mut map.metadata);
            self.maps.insert(map.name_any(), map);
        }
        for deletion in &actions.delete {
            if !may() {
                return;
            }
            self.writes += 1;
            let job = self.jobs.remove(&deletion.name).expect("a Job to delete");
            assert_eq!(job.uid().as_ref(), Some(&deletion.uid));
            self.pods.retain(|pod| pod.job != deletion.uid);
        }
        for creation in &actions.create {
            if let Some(task) = &creation.task {
                if !may() {
                    return;
                }
                self.writes += 1;
                let mut task = task.clone();
                self.stamp(&mut task.metadata);
                let was = self.maps.insert(task.name_any(), task);
                assert!(was.is_none(), "a task was made twice");
            }
            if creation.job.is_none() {
                continue;
            }
            if !may() {
                return;
            }
            self.writes += 1;
            let Some(mut job) = creation.job.clone() else {
                continue;
            };
            self.stamp(&mut job.metadata);
            self.made
                .push(JobIdentity::read(job.labels(), job.annotations()).expect("labels"));
            let was = self.jobs.insert(job.name_any(), job);
            assert!(was.is_none(), "a Job was made twice");
        }
        for (job, parallelism) in &actions.resize {
            let job = self.jobs.get_mut(&job.name).expect("a Job to resize");
            job.spec.as_mut().unwrap().parallelism = Some(*parallelism);
            self.writes += 1;
        }
        if !may() {
            return;
        }
        if let Some(status) = actions.status.status(&self.run, &[], self.now_millis) {
            self.writes += usize::from(self.run.status.as_ref() != Some(&status));
            self.run.status = Some(status);
        }
    }

    fn stamp(&mut self, metadata: &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) {
        self.next += 1;
        metadata.uid = Some(format!("object-{}", self.next));
        metadata.resource_version = Some(self.next.to_string());
        metadata.creation_timestamp = Some(self.time());
    }

    fn time(&self) -> Time {
        Time(Timestamp::from_millisecond(self.now_millis).unwrap())
    }

    /// Advances the time and runs every active Job to its end.
    pub fn work(&mut self) {
        self.now_millis += 1_000;
        let names: Vec<String> = self.jobs.keys().cloned().collect();
        for name in names {
            let uid = self.run.uid().unwrap();
            let seen = ObservedJob::reduce(&self.jobs[&name], &uid);
            let has_task = |seen: &ObservedJob| {
                let name = seen.identity.task_name("math", &uid);
                carried_task(&self.jobs[&seen.name]).is_some() || self.maps.contains_key(&name)
            };
            if let Some(seen) =
                seen.filter(|seen| !seen.has_ended() && !seen.is_suspended && has_task(seen))
            {
                self.run_job(&name, &seen);
            }
        }
    }

    fn run_job(&mut self, name: &str, job: &ObservedJob) {
        if !is_schedulable(&self.jobs[name]) {
            return;
        }
        let mut failed = BTreeSet::new();
        let mut succeeded = 0;
        for index in 0..i64::from(job.completions) {
            let (code, said) = self.end(job, index);
            if code == 0 {
                succeeded += 1;
            } else {
                failed.insert(index);
            }
            self.next += 1;
            self.pods.push(ObservedPod {
                uid: format!("pod-{}", self.next),
                started_at_millis: Some(self.now_millis),
                termination: Some(Termination {
                    finished_at_millis: self.now_millis + self.pod_millis,
                    code: Some(code),
                    is_out_of_memory: false,
                    message: said,
                }),
                ..pod_of(job, index, self.now_millis)
            });
        }
        self.now_millis += self.pod_millis;
        let time = self.time();
        let (kind, reason) = match failed.is_empty() {
            true => ("Complete", "CompletionsReached"),
            false => ("Failed", "FailedIndexes"),
        };
        let status = JobStatus {
            succeeded: Some(succeeded),
            failed_indexes: Some(failed.iter().copied().collect::<ShardSet>().to_string())
                .filter(|text| !text.is_empty()),
            completion_time: failed.is_empty().then(|| time.clone()),
            conditions: Some(vec![JobCondition {
                type_: kind.into(),
                status: "True".into(),
                reason: Some(reason.into()),
                last_transition_time: Some(time),
                ..JobCondition::default()
            }]),
            ..JobStatus::default()
        };
        self.jobs.get_mut(name).unwrap().status = Some(status);
    }

    /// Returns exit code and termination message of an index's worker.
    fn end(&mut self, job: &ObservedJob, index: i64) -> (i32, TerminationMessage) {
        if job.identity.purpose == Purpose::Preflight {
            let part = usize::try_from(index).unwrap();
            return (0, TerminationMessage::Preflight(Box::new(self.found(part))));
        }
        let task = self.task(job);
        let shard = job.shard(index);
        let poison = self
            .poison
            .get(&task.id.stage)
            .is_some_and(|shards| shards.contains(&shard));
        let report = |shard, outcome| StageReport {
            stage: task.id.stage,
            key: task.key.clone(),
            shard,
            outcome,
            counts: Default::default(),
            histograms: vec![],
            backends: vec![],
            worker_millis: 1,
            gpu_millis: 0,
            warnings: vec![],
        };
        let said = |report| TerminationMessage::Report(Box::new(report));
        match job.identity.purpose {
            Purpose::Seal => {
                let missing = self.missing(&task);
                if missing.is_empty() {
                    return (0, said(Results::new(60).outcome(&task)));
                }
                let total = i64::try_from(missing.len()).unwrap();
                let shards = missing.into_iter().collect();
                (0, said(report(None, Outcome::Missing { shards, total })))
            }
            Purpose::Run => {
                if let Some(input) = task.inputs.first()
                    && self.corruption.remove(&input.id.stage)
                {
                    self.shards
                        .get_mut(&input.key)
                        .expect("an input")
                        .remove(&0);
                    let outcome = Outcome::InputCorrupted {
                        stage: input.id.stage,
                        key: input.key.clone(),
                        message: "object 12ab is gone".into(),
                    };
                    return (1, said(report(Some(shard), outcome)));
                }
                if self.disk_full.remove(&task.id.stage) {
                    let message = "no space left on device".into();
                    let cause = Cause::DiskFull;
                    let outcome = Outcome::Transient { cause, message };
                    return (74, said(report(Some(shard), outcome)));
                }
                if poison {
                    let message = format!("row of shard {shard} cannot be read");
                    return (65, said(report(Some(shard), Outcome::Failed { message })));
                }
                let is_there = self
                    .shards
                    .get(&task.key)
                    .is_some_and(|there| there.contains(&shard));
                if is_there && task.id.stage != Stage::Publish {
                    return (0, said(report(Some(shard), Outcome::Done { reused: true })));
                }
                self.computed.push((task.key.clone(), shard));
                (0, said(self.commit(&task, shard, report)))
            }
            Purpose::MarkFailed => (0, said(self.commit(&task, shard, report))),
            Purpose::Preflight => unreachable!("handled above"),
        }
    }

    fn missing(&self, task: &StageTask) -> Vec<i64> {
        let there = self.shards.get(&task.key).cloned().unwrap_or_default();
        let all = 0..task.shards();
        all.filter(|shard| !there.contains(shard)).collect()
    }

    fn commit(
        &mut self,
        task: &StageTask,
        shard: i64,
        report: impl Fn(Option<i64>, Outcome) -> StageReport,
    ) -> StageReport {
        let there = self.shards.entry(task.key.clone()).or_default();
        there.insert(shard);
        if self.seals_last && self.missing(task).is_empty() {
            return Results::new(60).outcome(task);
        }
        report(Some(shard), Outcome::Done { reused: false })
    }

    pub fn task(&self, job: &ObservedJob) -> StageTask {
        if let Some(text) = carried_task(&self.jobs[&job.name]) {
            return serde_json::from_str(text).unwrap();
        }
        let name = job.identity.task_name("math", &self.run.uid().unwrap());
        let map = self.maps.get(&name).expect("a task for every Job at work");
        serde_json::from_str(&map.data.as_ref().unwrap()[TASK]).unwrap()
    }

    fn found(&self, part: usize) -> PreflightReport {
        let valid = scalequest_core::validate::validate(
            &self.run,
            scalequest_core::validate::Environment::Cluster,
        );
        let valid = valid.unwrap();
        let part = parts(valid.spec()).remove(part);
        let model = |_| ModelFacts {
            name: "m".into(),
            digest: "m".repeat(64),
            architecture: "llama".into(),
            parameters: 1,
            serving_bytes: 1,
            context_token_bytes: 1,
            training_bytes: 1,
            context_length: 2048,
            has_chat_template: true,
            head: "languageModel".into(),
            license: None,
        };
        let file = |_| FileFacts {
            location: String::new(),
            digest: "s".repeat(64),
            rows: 300,
            with_answers: 300,
        };
        PreflightReport {
            errors: if part.places {
                self.errors.clone()
            } else {
                Vec::new()
            },
            workspace_is_empty: part.places && self.shards.is_empty(),
            models: part.models.map(model).collect(),
            seed_questions: part.seed_questions.map(file).collect(),
            ..PreflightReport::default()
        }
    }

    /// Returns the saved record.
    pub fn record(&self) -> Option<RunRecord> {
        let owned = self.owned();
        let text = owned.maps.iter().find_map(|map| map.record.clone())?;
        Some(RunRecord::from_json(&text).unwrap())
    }

    /// Returns the status of a condition.
    pub fn condition(&self, kind: &str) -> String {
        let status = self.run.status.clone().unwrap_or_default();
        scalequest_core::status::conditions::status_of(&status.conditions, kind)
            .unwrap_or("")
            .to_string()
    }

    /// Reconciles and runs Jobs until `done`.
    pub fn until(&mut self, what: &str, done: impl Fn(&FakeCluster) -> bool) {
        for _ in 0..500 {
            if done(self) {
                return;
            }
            let actions = self.decide();
            self.apply(&actions, usize::MAX);
            self.work();
        }
        panic!("{what} does not come: {:#?}", self.run.status);
    }
}

/// Returns a pending pod of a Job's index.
fn pod_of(job: &ObservedJob, index: i64, now_millis: i64) -> ObservedPod {
    ObservedPod {
        name: format!("{}-{index}", job.name),
        uid: format!("{}-{index}", job.uid),
        job: job.uid.clone(),
        identity: job.identity.clone(),
        index,
        node: Some("n".into()),
        address: None,
        on_gpu: false,
        deletion_timestamp_millis: None,
        started_at_millis: None,
        termination: None,
        is_disrupted: false,
        waiting_reason: None,
        is_creating: false,
        created_at_millis: now_millis,
    }
}

/// Whether there is a node for a Job's pods: none is called `nowhere`.
fn is_schedulable(job: &Job) -> bool {
    let pod = job
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let selector = pod.and_then(|pod| pod.node_selector.as_ref());
    selector.is_none_or(|selector| selector.get("zone").is_none_or(|zone| zone != "nowhere"))
}

/// The task that a Job's pods carry themselves.
fn carried_task(job: &Job) -> Option<&String> {
    let template = &job.spec.as_ref()?.template;
    let annotations = template.metadata.as_ref()?.annotations.as_ref()?;
    annotations.get(TASK_ANNOTATION)
}
