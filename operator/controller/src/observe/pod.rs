//! A pod of a Job, reduced to what decisions need: how it ended, what its worker said, or why it does not start.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use scalequest_crds::protocol::preflight::PreflightReport;
use scalequest_crds::protocol::report::{Outcome, StageReport};

use super::cache::Kept;
use super::job::millis;
use crate::names::Work;
use crate::resources::accelerator::pod_holds_accelerator;
use crate::resources::pod::CONTAINER;
use crate::resources::server;

/// Longest last words that are kept, in characters.
const WORDS_KEPT: usize = 600;

/// A pod.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenPod {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Uid of its Job.
    pub job: String,
    /// Its work.
    pub work: Work,
    /// Its completion index.
    pub index: i64,
    /// The node it is on.
    pub node: Option<String>,
    /// Its address in the cluster.
    pub address: Option<IpAddr>,
    /// Whether it holds a GPU.
    pub on_gpu: bool,
    /// When it is to be gone, in milliseconds since 1970, where it is being deleted.
    pub leaving_millis: Option<i64>,
    /// When its worker began, in milliseconds since 1970.
    pub began_millis: Option<i64>,
    /// How it ended.
    pub ended: Option<PodEnd>,
    /// Why it does not start, in Kubernetes' words.
    pub waits_for: Option<String>,
    /// Whether its node has it and its container does not exist yet.
    pub is_creating: bool,
    /// When it was made, in milliseconds since 1970.
    pub made_millis: i64,
}

/// How a pod ended.
#[derive(Clone, Debug, PartialEq)]
pub struct PodEnd {
    /// When, in milliseconds since 1970; a server beside the worker ends last.
    pub at_millis: i64,
    /// Exit code of the worker; none where it never ran.
    pub code: Option<i32>,
    /// What the worker said.
    pub said: Said,
}

/// What a worker said at its end.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// A report of its task.
    Report(Box<StageReport>),
    /// What it found in its part of a preflight.
    Found(Box<PreflightReport>),
    /// Something else: the last lines of its log, or nothing.
    Words(String),
}

impl PodEnd {
    /// The report, where it is one for the stage with content key `key`.
    pub fn report(&self, key: &str) -> Option<&StageReport> {
        match &self.said {
            Said::Report(report) if report.key == key => Some(report),
            _ => None,
        }
    }

    /// Why it failed, for a person.
    pub fn message(&self) -> String {
        match &self.said {
            Said::Report(report) => match &report.outcome {
                Outcome::Failed { message } | Outcome::InputCorrupted { message, .. } => {
                    message.clone()
                }
                _ => self.code_in_words(),
            },
            Said::Words(words) if !words.is_empty() => format!("{}: {words}", self.code_in_words()),
            _ => self.code_in_words(),
        }
    }

    fn code_in_words(&self) -> String {
        match self.code {
            None => "the worker never ran".into(),
            Some(137) => "the worker was killed (exit code 137), most likely for want of memory: raise its memory limit in spec.pods".into(),
            Some(code) => format!("the worker ended with exit code {code}"),
        }
    }
}

impl SeenPod {
    /// Milliseconds for which its worker has run, at `now_millis`.
    pub fn lifetime(&self, now_millis: i64) -> i64 {
        let Some(began) = self.began_millis else {
            return 0;
        };
        let until = self.ended.as_ref().map_or(now_millis, |end| end.at_millis);
        (until - began).max(0)
    }
}

impl Kept<Pod> for SeenPod {
    fn keep(pod: &Pod, _uid: &str) -> Option<Self> {
        let job = pod
            .owner_references()
            .iter()
            .find(|owner| owner.controller == Some(true) && owner.kind == "Job")?;
        let index = pod
            .annotations()
            .get("batch.kubernetes.io/job-completion-index");
        let status = pod.status.clone().unwrap_or_default();
        let made_millis = pod.metadata.creation_timestamp.as_ref().map_or(0, millis);
        // Where a server stands beside the worker, what puts its model in place began first, and the pod holds its GPU from then on.
        let [placed, worked] = [server::PLACE, CONTAINER].map(|name| Ran::of(&status, name));
        let began = placed.began.or(worked.began);
        // Where the former fails, the latter never runs.
        let terminated = worked
            .ended
            .or(placed.ended.filter(|end| end.exit_code != 0));
        Some(SeenPod {
            name: pod.name_any(),
            uid: pod.uid()?,
            job: job.uid.clone(),
            work: Work::read(pod.labels(), pod.annotations())?,
            index: index.and_then(|text| text.parse().ok()).unwrap_or(0),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            address: status.pod_ip.as_deref().and_then(|ip| ip.parse().ok()),
            on_gpu: pod.spec.as_ref().is_some_and(pod_holds_accelerator),
            leaving_millis: pod.metadata.deletion_timestamp.as_ref().map(millis),
            began_millis: began.as_ref().map(millis),
            ended: ended(&status, terminated.as_ref(), made_millis),
            waits_for: waits_for(&status),
            is_creating: is_creating(&status),
            made_millis,
        })
    }
}

/// How far a container that runs the worker's program is.
#[derive(Default)]
struct Ran {
    began: Option<Time>,
    ended: Option<ContainerStateTerminated>,
}

impl Ran {
    fn of(status: &PodStatus, name: &str) -> Ran {
        let state = containers(status).find(|container| container.name == name);
        let state = state.and_then(|container| container.state.clone());
        let state = state.unwrap_or_default();
        let running = state.running.and_then(|running| running.started_at);
        let ended = state.terminated;
        Ran {
            began: ended
                .as_ref()
                .and_then(|ended| ended.started_at.clone())
                .or(running),
            ended,
        }
    }
}

/// The statuses of all containers, those that come first first.
fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let before = status.init_container_statuses.iter().flatten();
    before.chain(status.container_statuses.iter().flatten())
}

fn ended(
    status: &PodStatus,
    terminated: Option<&ContainerStateTerminated>,
    made_millis: i64,
) -> Option<PodEnd> {
    let is_over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let finished = containers(status).filter_map(|container| {
        let state = container.state.as_ref()?;
        state.terminated.as_ref()?.finished_at.as_ref().map(millis)
    });
    match terminated {
        Some(terminated) => Some(PodEnd {
            at_millis: finished.max().unwrap_or(made_millis),
            code: Some(terminated.exit_code),
            said: said(terminated.message.as_deref().unwrap_or_default()),
        }),
        None if is_over => Some(PodEnd {
            at_millis: status.start_time.as_ref().map_or(made_millis, millis),
            code: None,
            said: Said::Words(status.message.clone().unwrap_or_default()),
        }),
        None => None,
    }
}

fn said(message: &str) -> Said {
    if let Ok(report) = serde_json::from_str::<StageReport>(message) {
        return Said::Report(Box::new(report));
    }
    if let Ok(found) = serde_json::from_str::<PreflightReport>(message) {
        return Said::Found(Box::new(found));
    }
    let words: Vec<char> = message.trim().chars().collect();
    let from = words.len().saturating_sub(WORDS_KEPT);
    Said::Words(words[from..].iter().collect())
}

/// Reasons for which a container does not start and that do not pass by themselves soon.
const STUCK: [&str; 8] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "ImageInspectError",
];

fn waits_for(status: &PodStatus) -> Option<String> {
    let conditions = status.conditions.iter().flatten();
    let unscheduled = conditions
        .filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
        .map(|condition| condition.message.clone().unwrap_or_default())
        .next();
    unscheduled.or_else(|| containers(status).find_map(stuck))
}

/// Starts of a server in vain from which on it counts as one that does not stay.
const STARTS: i32 = 3;

/// Why a container does not start, or does not stay.
fn stuck(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?;
    let starts = container.restart_count + 1;
    let last = match (&state.waiting, &state.terminated) {
        (Some(waiting), _) => {
            let reason = waiting.reason.as_deref().unwrap_or_default();
            let message = waiting.message.as_deref().unwrap_or_default();
            if STUCK.contains(&reason) {
                return Some(format!("{reason}: {message}"));
            }
            let last = container.last_state.as_ref()?.terminated.as_ref()?;
            (reason == "CrashLoopBackOff").then_some(last)?
        }
        // Up to Kubernetes 1.33 a sidecar is shown as ended until it is started again.
        (None, Some(last)) if starts >= STARTS => last,
        _ => return None,
    };
    // Of a server: what it said when it died last says more than that it does.
    let Said::Words(words) = said(last.message.as_deref().unwrap_or_default()) else {
        return None;
    };
    (container.name == server::SERVER).then(|| {
        format!(
            "the model's server ended {starts} times, the last time with exit code {}: {words}",
            last.exit_code
        )
    })
}

fn is_creating(status: &PodStatus) -> bool {
    let worker = status.container_statuses.iter().flatten();
    let mut reasons = worker.filter_map(|worker| {
        let waiting = worker.state.as_ref()?.waiting.as_ref()?;
        waiting.reason.as_deref()
    });
    // While what comes before the worker runs, its volumes are there and nothing hangs.
    let begun = Ran::of(status, server::PLACE).began.is_some();
    !begun && reasons.any(|reason| reason == "ContainerCreating" || reason == "PodInitializing")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A pod with these statuses of its containers before the worker, and of the worker.
    fn pod(phase: &str, before: Value, worker: Value) -> SeenPod {
        let limits = json!({"limits": {"nvidia.com/gpu": "1"}});
        let pod = json!({
            "metadata": {
                "name": "p", "uid": "u", "creationTimestamp": "2026-11-01T00:00:00Z",
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "j", "controller": true}],
                "labels": {"scalequest.dev/purpose": "run", "scalequest.dev/stage": "judge", "scalequest.dev/round": "0"},
                "annotations": {"scalequest.dev/key": "k"},
            },
            "spec": {
                "initContainers": [{"name": "model"}, {"name": "server", "restartPolicy": "Always", "resources": limits}],
                "containers": [{"name": "worker"}],
            },
            "status": {"phase": phase, "initContainerStatuses": before, "containerStatuses": [worker]},
        });
        SeenPod::keep(&serde_json::from_value(pod).unwrap(), "").expect("a worker's pod")
    }

    fn container(name: &str, state: Value, last: Value) -> Value {
        json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 2, "state": state, "lastState": last})
    }

    fn ended(code: i32, message: &str) -> Value {
        json!({"terminated": {"exitCode": code, "startedAt": "2026-11-01T00:00:10Z", "finishedAt": "2026-11-01T00:01:00Z", "message": message}})
    }

    fn waiting(reason: &str) -> Value {
        json!({"waiting": {"reason": reason, "message": "back-off"}})
    }

    #[test]
    fn a_model_that_cannot_be_put_in_its_place_ends_the_pod_with_its_words() {
        let model = container("model", ended(64, "the files have changed"), json!({}));
        let worker = container("worker", waiting("PodInitializing"), json!({}));
        let seen = pod("Failed", json!([model]), worker);
        let end = seen.ended.clone().expect("an end");
        assert_eq!(end.code, Some(64));
        assert!(end.message().contains("the files have changed"));
        assert!(seen.on_gpu);
        assert_eq!(seen.lifetime(0), 50_000);
    }

    #[test]
    fn a_server_that_dies_again_and_again_is_told_with_what_it_said_last() {
        let before = |state: Value| {
            let model = container("model", ended(0, ""), json!({}));
            json!([model, container("server", state, ended(3, "no such model"))])
        };
        let worker = |state: Value| container("worker", state, json!({}));
        let running = json!({"running": {"startedAt": "2026-11-01T00:02:00Z"}});
        let seen = pod(
            "Running",
            before(waiting("CrashLoopBackOff")),
            worker(running.clone()),
        );
        let words = seen.waits_for.expect("words");
        assert!(
            words.contains("ended 3 times") && words.contains("no such model"),
            "{words}"
        );
        assert_eq!(seen.ended, None);
        let between = before(ended(3, "no such model"));
        let between = pod("Pending", between, worker(waiting("PodInitializing")));
        let words = between.waits_for.expect("words between two starts");
        assert!(words.contains("no such model"), "{words}");
        // The pod holds its GPU since the model was put in place.
        assert_eq!(seen.began_millis.map(|began| began % 60_000), Some(10_000));
        // And until the server has ended, which outlives the worker.
        let mut late = ended(137, "");
        late["terminated"]["finishedAt"] = "2026-11-01T00:01:40Z".into();
        let over = pod("Succeeded", before(late), worker(ended(0, "")));
        assert_eq!(over.lifetime(0), 90_000);
        assert_eq!(over.ended.and_then(|end| end.code), Some(0));
        let well = pod("Running", before(running.clone()), worker(running));
        assert_eq!(well.waits_for, None);
        let begins = pod(
            "Pending",
            before(json!({})),
            worker(waiting("PodInitializing")),
        );
        assert!(!begins.is_creating);
    }
}
