//! Caches of the Jobs, pods and ConfigMaps of all runs, kept current by watches. Each object is reduced to what decisions need when it is
//! observed, so that a run takes little memory.

pub mod cache;

pub mod job;

pub mod config_map;

pub mod pod;

pub mod termination;

pub mod expectations;

pub mod progress;

pub mod object_events;

pub mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::reflector::ObjectRef;
use scalequest_crds::protocol::progress::Progress;

use super::names::{RUN, RUN_UID};
use super::watched_run::WatchedRun;
use cache::Cache;
use config_map::ObservedConfigMap;
use expectations::{Expectations, Versions};
use job::ObservedJob;
use object_events::ObjectEvents;
use pod::ObservedPod;

/// The caches of one namespace, or of all.
#[derive(Debug, Default)]
pub struct Caches {
    /// Jobs.
    pub jobs: Cache<ObservedJob>,
    /// Pods.
    pub pods: Cache<ObservedPod>,
    /// ConfigMaps.
    pub maps: Cache<ObservedConfigMap>,
    /// The controller's own writes that the caches must have observed before the next reconcile.
    pub expectations: Expectations,
    /// Whether the first list of runs is complete; the reflector has the runs.
    pub has_listed_runs: AtomicBool,
}

/// The objects that a run owns.
#[derive(Clone, Debug, Default)]
pub struct OwnedObjects {
    /// Its Jobs, oldest attempt first.
    pub jobs: Vec<Arc<ObservedJob>>,
    /// Its pods.
    pub pods: Vec<Arc<ObservedPod>>,
    /// Its ConfigMaps.
    pub maps: Vec<Arc<ObservedConfigMap>>,
    /// What events say of objects that wait, by uid.
    pub events: BTreeMap<String, ObjectEvents>,
    /// Shard progress that workers reported, by the uid of their pods.
    pub progress: BTreeMap<String, Progress>,
}

impl OwnedObjects {
    /// Returns the ConfigMap that holds the run's record, and the record. A run that has one is accepted.
    pub fn record(&self) -> Option<(&ObservedConfigMap, &str)> {
        let mut maps = self.maps.iter().filter(|map| !map.is_terminating);
        maps.find_map(|map| Some((&**map, map.record.as_deref()?)))
    }

    /// Returns the pods of a Job.
    pub fn pods_of<'a>(
        &'a self,
        job: &'a ObservedJob,
    ) -> impl Iterator<Item = &'a Arc<ObservedPod>> {
        self.pods.iter().filter(|pod| pod.job == job.uid)
    }
}

/// How long the watch of pods may lag behind that of Jobs, in milliseconds. Pods that are missing after that were deleted.
pub const POD_LAG_MILLIS: i64 = 15_000;

/// Whether terminations of pods of a Job that has just ended, and with them their termination messages, may not be observed yet: Jobs and pods
/// have separate watches, and the Job's end may come first.
fn lacks_terminations(job: &ObservedJob, pods: &[Arc<ObservedPod>], now_millis: i64) -> bool {
    let has_just_ended = job
        .finished_at_millis
        .is_some_and(|at| (-POD_LAG_MILLIS..POD_LAG_MILLIS).contains(&(now_millis - at)));
    let ended = |pod: &&Arc<ObservedPod>| pod.job == job.uid && pod.termination.is_some();
    let seen = || pods.iter().filter(ended).count() as i64;
    has_just_ended && seen() < i64::from(job.counted)
}

impl Caches {
    /// Whether the first lists are complete.
    pub fn is_ready(&self) -> bool {
        let has_listed_runs = self.has_listed_runs.load(Ordering::Relaxed);
        has_listed_runs && self.jobs.is_ready() && self.pods.is_ready() && self.maps.is_ready()
    }

    /// Returns the objects that the run with the metadata `run` owns, or `None` before the first lists are complete, while expectations are not satisfied, and while the
    /// pods lag behind the Jobs.
    pub fn of_run(&self, run: &ObjectMeta, now_millis: i64) -> Option<OwnedObjects> {
        let uid = run.uid.as_deref().unwrap_or_default();
        let seen = Versions {
            run: version(run.resource_version.as_deref()),
            jobs: self.jobs.latest(),
            maps: self.maps.latest(),
        };
        if !self.is_ready() || !self.expectations.are_satisfied(uid, seen) {
            return None;
        }
        let mut jobs = self.jobs.of_run(uid);
        jobs.sort_by(|a, b| (a.identity.attempt, &a.name).cmp(&(b.identity.attempt, &b.name)));
        let pods = self.pods.of_run(uid);
        let lacks = |job: &Arc<ObservedJob>| lacks_terminations(job, &pods, now_millis);
        (!jobs.iter().any(lacks)).then(|| OwnedObjects {
            jobs,
            pods,
            maps: self.maps.of_run(uid),
            ..OwnedObjects::default()
        })
    }
}

/// Returns a resource version as a number, 0 if it is none. They are comparable: officially since Kubernetes 1.35, in practice before too.
pub fn version(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Returns uid and reference of the run that an object's labels name.
pub fn run_of(object: &impl kube::ResourceExt) -> Option<(String, ObjectRef<WatchedRun>)> {
    let labels = object.labels();
    let run = ObjectRef::new(labels.get(RUN)?).within(&object.namespace()?);
    Some((labels.get(RUN_UID)?.clone(), run))
}

/// Whether the run with `uid` controls the object.
pub fn is_controlled(object: &impl kube::ResourceExt, uid: &str) -> bool {
    let mut owners = object.owner_references().iter();
    owners.any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

#[cfg(test)]
mod tests {
    use scalequest_crds::v1alpha1::{Stage, StageId};

    use super::*;
    use crate::names::{JobIdentity, Purpose};
    use job::JobState;
    use termination::{Termination, TerminationMessage};

    fn identity() -> JobIdentity {
        JobIdentity {
            purpose: Purpose::Seal,
            id: Some(StageId::in_wave(Stage::Judge, 1)),
            key: "k".into(),
            attempt: 0,
        }
    }

    fn job(finished_at_millis: Option<i64>, counted: i32) -> ObservedJob {
        ObservedJob {
            name: "seal".into(),
            uid: "job".into(),
            identity: identity(),
            shard_indexes: None,
            template_hash: None,
            state: JobState::Complete,
            is_terminating: false,
            is_suspended: false,
            queue: None,
            parallelism: 1,
            completions: 1,
            active: 0,
            succeeded: counted,
            counted,
            failed_indexes: Default::default(),
            created_at_millis: 0,
            finished_at_millis,
        }
    }

    fn pod(has_ended: bool) -> Arc<ObservedPod> {
        let end = Termination {
            finished_at_millis: 0,
            code: Some(0),
            is_out_of_memory: false,
            message: TerminationMessage::LogTail(String::new()),
        };
        Arc::new(ObservedPod {
            name: "seal-0".into(),
            uid: "pod".into(),
            job: "job".into(),
            identity: identity(),
            index: 0,
            node: None,
            address: None,
            on_gpu: false,
            deletion_timestamp_millis: None,
            started_at_millis: None,
            termination: has_ended.then_some(end),
            is_disrupted: false,
            restarts: 0,
            wait: None,
            is_creating: false,
            created_at_millis: 0,
        })
    }

    #[test]
    fn ended_jobs_wait_for_pods() {
        let now = 1_000_000;
        let just = Some(now - 500);
        assert!(lacks_terminations(&job(just, 1), &[], now));
        assert!(lacks_terminations(&job(just, 1), &[pod(false)], now));
        assert!(!lacks_terminations(&job(just, 1), &[pod(true)], now));
        assert!(!lacks_terminations(&job(None, 0), &[pod(false)], now));
        // Missing pods were deleted; a wrong clock delays nothing.
        assert!(!lacks_terminations(
            &job(Some(now - POD_LAG_MILLIS), 1),
            &[],
            now
        ));
        assert!(!lacks_terminations(
            &job(Some(now + 3_600_000), 1),
            &[],
            now
        ));
    }
}
