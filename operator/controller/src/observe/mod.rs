//! What is there, as values: Jobs, pods with their reports, ConfigMaps of every run, kept current by watches. Each object is reduced to what
//! decisions need as it comes in, so that a run costs little memory.

pub mod cache;

pub mod job;

pub mod map;

pub mod pod;

pub mod expected;

pub mod heard;

pub mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::runtime::reflector::ObjectRef;
use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::v1alpha1::SynthesisRun;

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
    /// What workers say of their shards, by the uid of their pods.
    pub heard: BTreeMap<String, Progress>,
}

/// How far a watch of pods may be behind that of Jobs, in milliseconds. After that, pods that do not show are gone.
pub const BEHIND_MILLIS: i64 = 15_000;

/// Whether the pods of a Job that has just ended, and with them what their workers said, may be still on their way: Jobs and pods are watched
/// apart, and the Job's end may come first.
fn lacks_pods(job: &SeenJob, pods: &[Arc<SeenPod>], now_millis: i64) -> bool {
    let has_just_ended = job
        .ended_millis
        .is_some_and(|at| (-BEHIND_MILLIS..BEHIND_MILLIS).contains(&(now_millis - at)));
    let ended = |pod: &&Arc<SeenPod>| pod.job == job.uid && pod.ended.is_some();
    let seen = || pods.iter().filter(ended).count();
    has_just_ended && i64::try_from(seen()).is_ok_and(|seen| seen < i64::from(job.counted))
}

impl Observed {
    /// Whether the first lists are complete.
    pub fn is_ready(&self) -> bool {
        self.jobs.is_ready() && self.pods.is_ready() && self.maps.is_ready()
    }

    /// What belongs to `run`; none before the first lists are complete, and while a cache is behind what the operator itself wrote or behind
    /// another cache.
    pub fn of_run(&self, run: &SynthesisRun, now_millis: i64) -> Option<Belongings> {
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
        let pods = self.pods.of_run(uid);
        if jobs.iter().any(|job| lacks_pods(job, &pods, now_millis)) {
            return None;
        }
        Some(Belongings {
            jobs,
            pods,
            maps: self.maps.of_run(uid),
            words: BTreeMap::new(),
            heard: BTreeMap::new(),
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

#[cfg(test)]
mod tests {
    use scalequest_crds::v1alpha1::{Stage, StageId};

    use super::*;
    use crate::names::{Purpose, Work};
    use job::JobState;
    use pod::{PodEnd, Said};

    fn work() -> Work {
        Work {
            purpose: Purpose::Seal,
            id: Some(StageId::in_wave(Stage::Judge, 1)),
            key: "k".into(),
            round: 0,
        }
    }

    fn job(ended_millis: Option<i64>, counted: i32) -> SeenJob {
        SeenJob {
            name: "seal".into(),
            uid: "job".into(),
            work: work(),
            among: None,
            state: JobState::Complete,
            is_leaving: false,
            is_suspended: false,
            parallelism: 1,
            completions: 1,
            active: 0,
            succeeded: counted,
            counted,
            failed_indexes: Default::default(),
            made_millis: 0,
            ended_millis,
        }
    }

    fn pod(has_ended: bool) -> Arc<SeenPod> {
        let end = PodEnd {
            at_millis: 0,
            code: Some(0),
            said: Said::Words(String::new()),
        };
        Arc::new(SeenPod {
            name: "seal-0".into(),
            uid: "pod".into(),
            job: "job".into(),
            work: work(),
            index: 0,
            node: None,
            address: None,
            on_gpu: false,
            leaving_millis: None,
            began_millis: None,
            ended: has_ended.then_some(end),
            waits_for: None,
            is_creating: false,
            made_millis: 0,
        })
    }

    #[test]
    fn a_job_is_not_judged_before_its_pods_are_seen_to_have_ended() {
        let now = 1_000_000;
        let just = Some(now - 500);
        assert!(lacks_pods(&job(just, 1), &[], now));
        assert!(lacks_pods(&job(just, 1), &[pod(false)], now));
        assert!(!lacks_pods(&job(just, 1), &[pod(true)], now));
        assert!(!lacks_pods(&job(None, 0), &[pod(false)], now));
        // Pods that do not show are gone; a clock that is wrong holds nothing up.
        assert!(!lacks_pods(&job(Some(now - BEHIND_MILLIS), 1), &[], now));
        assert!(!lacks_pods(&job(Some(now + 3_600_000), 1), &[], now));
    }
}
