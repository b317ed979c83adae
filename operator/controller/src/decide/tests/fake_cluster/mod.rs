//! A fake cluster in memory: an API server that applies the writes of a reconcile one by one and may crash after any of them, a Job controller,
//! and workers whose results are a function of their task.

mod fake_worker;

mod outage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use scalequest_crds::protocol::shard_set::ShardSet;
use scalequest_crds::v1alpha1::{Stage, SynthesisRun, SynthesisRunStatus};

use crate::decide::waits::Waits;
use crate::decide::{Actions, ReconcileInput, decide};
use crate::names::{JobIdentity, TASK_ANNOTATION};
use crate::observe::OwnedObjects;
use crate::observe::cache::Reduce;
use crate::observe::config_map::ObservedConfigMap;
use crate::observe::job::ObservedJob;
use crate::observe::object_events::ObjectEvents;
use crate::observe::pod::ObservedPod;
use crate::observe::termination::Termination;
use crate::observe::waiting::{PodWait, WaitCause};
use crate::resources::Owner;
use crate::resources::config_maps::record_map;
use crate::settings::Settings;
use scalequest_core::parse::parse;
use scalequest_core::record::RunRecord;
use scalequest_core::status::stage_state::StageState;

use fake_worker::FakeEnd;
pub use outage::{FailureKind, Outage};

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
    /// What events say of objects, by uid.
    pub events: BTreeMap<String, ObjectEvents>,
    /// Shards in the workspace, by content key.
    pub shards: BTreeMap<String, BTreeSet<i64>>,
    /// Shards that no worker can make, by stage.
    pub poison: BTreeMap<Stage, BTreeSet<i64>>,
    /// What fails the workers of all stages of a kind.
    pub outage: Option<Outage>,
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
    /// Time until the next requeue.
    idle_millis: i64,
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
            events: BTreeMap::new(),
            shards: BTreeMap::new(),
            poison: BTreeMap::new(),
            outage: None,
            corruption: BTreeSet::new(),
            seals_last: true,
            errors: Vec::new(),
            made: Vec::new(),
            computed: Vec::new(),
            now_millis: 1_000_000,
            writes: 0,
            saves: 0,
            pod_millis: 1_000,
            idle_millis: 0,
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

    /// Adds a pod of each active Job that waits.
    pub fn add_waiting_pods(&mut self, cause: WaitCause, message: &str) {
        for job in self.owned().jobs.iter().filter(|job| job.is_active()) {
            let wait = Some(PodWait {
                cause,
                message: message.into(),
            });
            self.pods.push(ObservedPod {
                wait,
                ..pod_of(job, 0, self.now_millis)
            });
        }
    }

    /// Returns status, reason and message of a condition; empty if there is no status.
    pub fn condition_fields(&self, kind: &str) -> (String, String, String) {
        let status = self.run.status.clone().unwrap_or_default();
        let mut conditions = status.conditions.into_iter();
        let found = conditions.find(|condition| condition.type_ == kind);
        found.map_or_else(Default::default, |found| {
            (found.status, found.reason, found.message)
        })
    }

    /// Reconciles once; time passes up to the next requeue, and no Job makes progress.
    pub fn reconcile_only(&mut self) -> Duration {
        let actions = self.decide();
        self.apply(&actions, usize::MAX);
        actions.requeue_after
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
            events: self.events.clone(),
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
        if let Some(status) = actions
            .status
            .status(&self.run, &Waits::default(), self.now_millis)
        {
            self.writes += usize::from(self.run.status.as_ref() != Some(&status));
            check_transitions(self.run.status.as_ref(), &status);
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
        let (mut succeeded, mut disrupted) = (0, false);
        for index in 0..i64::from(job.completions) {
            let FakeEnd {
                code,
                message,
                is_out_of_memory,
                is_disrupted,
            } = self.end(job, index);
            if is_disrupted {
                disrupted = true;
            } else if code == Some(0) {
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
                    code,
                    is_out_of_memory,
                    message,
                }),
                is_disrupted,
                ..pod_of(job, index, self.now_millis)
            });
        }
        self.now_millis += self.pod_millis;
        if disrupted {
            // The Job controller replaces its pods and counts no failure.
            return;
        }
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

    /// Reconciles once and runs the active Jobs. If none is active, the next step is at the next requeue.
    pub fn step(&mut self) {
        self.now_millis += std::mem::take(&mut self.idle_millis);
        self.expire_jobs();
        let actions = self.decide();
        self.apply(&actions, usize::MAX);
        if self.owned().jobs.iter().any(|job| job.is_active()) {
            self.work();
        } else {
            self.idle_millis = i64::try_from(actions.requeue_after.as_millis()).unwrap();
        }
    }

    /// Deletes ended Jobs whose time to live is over, with their pods.
    fn expire_jobs(&mut self) {
        let (uid, now_millis) = (self.run.uid().unwrap(), self.now_millis);
        let is_over = |job: &Job| {
            let ttl = job.spec.as_ref()?.ttl_seconds_after_finished?;
            let ended = ObservedJob::reduce(job, &uid)?.finished_at_millis?;
            Some(now_millis > ended + i64::from(ttl) * 1000)
        };
        self.jobs.retain(|_, job| is_over(job) != Some(true));
        let jobs: BTreeSet<_> = self.jobs.values().filter_map(ResourceExt::uid).collect();
        self.pods.retain(|pod| jobs.contains(&pod.job));
    }

    /// Reconciles and runs Jobs until `done`.
    pub fn until(&mut self, what: &str, done: impl Fn(&FakeCluster) -> bool) {
        for _ in 0..500 {
            if done(self) {
                return;
            }
            self.step();
        }
        panic!("{what} does not come: {:#?}", self.run.status);
    }
}

/// Asserts that the stages change their states as the diagram in the documentation says.
fn check_transitions(before: Option<&SynthesisRunStatus>, after: &SynthesisRunStatus) {
    let before = before.map_or(&[][..], |before| &before.stages);
    for was in before {
        let now = after.stages.iter().find(|now| now.id() == was.id());
        let state = now.map_or(was.state.as_str(), |now| now.state.as_str());
        assert!(
            StageState::may_become(&was.state, state),
            "{}: {} -> {state}",
            was.id(),
            was.state
        );
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
        restarts: 0,
        wait: None,
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
