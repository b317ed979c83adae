//! What is there, as values: Jobs, pods with their reports, ConfigMaps of every run, kept current by watches. Each object is reduced to what
//! decisions need as it comes in, so that a run costs little memory.

pub mod cache;

pub mod job;

pub mod map;

pub mod pod;

pub mod expected;

pub mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::runtime::reflector::ObjectRef;
use scalequest_crds::run::SynthesisRun;

use super::names::{RUN, RUN_UID};
use cache::Cache;
use expected::Expected;
use job::SeenJob;
use map::SeenMap;
use pod::SeenPod;

/// Everything that the watches of one namespace (or of all) have seen.
#[derive(Debug, Default)]
pub struct Observed {
    /// Jobs.
    pub jobs: Cache<SeenJob>,
    /// Pods.
    pub pods: Cache<SeenPod>,
    /// ConfigMaps.
    pub maps: Cache<SeenMap>,
    /// What the operator itself has written and the caches must have seen before it acts again.
    pub expected: Expected,
}

/// What belongs to one run.
#[derive(Clone, Debug, Default)]
pub struct Belongings {
    /// Its Jobs, oldest round first.
    pub jobs: Vec<Arc<SeenJob>>,
    /// Its pods.
    pub pods: Vec<Arc<SeenPod>>,
    /// Its ConfigMaps.
    pub maps: Vec<Arc<SeenMap>>,
    /// What Kubernetes says of what hangs, by uid.
    pub words: BTreeMap<String, String>,
}

impl Observed {
    /// Whether the first lists are complete.
    pub fn is_ready(&self) -> bool {
        self.jobs.is_ready() && self.pods.is_ready() && self.maps.is_ready()
    }

    /// What belongs to `run`; none before the first lists are complete, and while a cache is behind what the operator itself wrote.
    pub fn of_run(&self, run: &SynthesisRun) -> Option<Belongings> {
        let uid = run.metadata.uid.as_deref().unwrap_or_default();
        let version = version(run.metadata.resource_version.as_deref());
        let seen = expected::Versions {
            run: version,
            jobs: self.jobs.latest(),
            maps: self.maps.latest(),
        };
        if !self.is_ready() || !self.expected.is_met(uid, seen) {
            return None;
        }
        let mut jobs = self.jobs.of_run(uid);
        jobs.sort_by(|a, b| (a.work.round, &a.name).cmp(&(b.work.round, &b.name)));
        Some(Belongings {
            jobs,
            pods: self.pods.of_run(uid),
            maps: self.maps.of_run(uid),
            words: BTreeMap::new(),
        })
    }
}

/// A resource version as a number: since Kubernetes 1.35 they may be compared, and they could be before. 0 where it is none.
pub fn version(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The run to which an object's labels say that it belongs: its uid, and where to find it.
pub fn run_of(object: &impl kube::ResourceExt) -> Option<(String, ObjectRef<SynthesisRun>)> {
    let labels = object.labels();
    let run = ObjectRef::new(labels.get(RUN)?).within(&object.namespace()?);
    Some((labels.get(RUN_UID)?.clone(), run))
}

/// Whether the run with `uid` controls the object.
pub fn is_controlled(object: &impl kube::ResourceExt, uid: &str) -> bool {
    let owners = object.owner_references();
    owners
        .iter()
        .any(|owner| owner.controller == Some(true) && owner.uid == uid)
}
