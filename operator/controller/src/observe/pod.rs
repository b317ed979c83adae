//! A pod of a Job, reduced to what decisions need: its termination with the worker's termination message, or why it does not start.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use scalequest_crds::protocol::preflight::PreflightReport;
use scalequest_crds::protocol::report::{Outcome, StageReport};

use super::cache::Reduce;
use super::job::millis;
use crate::names::JobIdentity;
use crate::resources::accelerator::pod_holds_accelerator;
use crate::resources::pod::CONTAINER;
use crate::resources::server;

/// Maximum length of a log tail, in characters.
const LOG_TAIL_CHARS: usize = 600;

/// A pod, as the cache holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedPod {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Uid of its Job.
    pub job: String,
    /// Identity of its Job.
    pub identity: JobIdentity,
    /// Its completion index.
    pub index: i64,
    /// The node it is on.
    pub node: Option<String>,
    /// Its address in the cluster.
    pub address: Option<IpAddr>,
    /// Whether it holds a GPU.
    pub on_gpu: bool,
    /// Its deletion timestamp in milliseconds since 1970, if it is terminating.
    pub deletion_timestamp_millis: Option<i64>,
    /// When its worker started, in milliseconds since 1970.
    pub started_at_millis: Option<i64>,
    /// Its termination, once it has ended.
    pub termination: Option<Termination>,
    /// Why it does not start, as Kubernetes reports it.
    pub waiting_reason: Option<String>,
    /// Whether it is scheduled and its container is not created yet.
    pub is_creating: bool,
    /// When it was created, in milliseconds since 1970.
    pub created_at_millis: i64,
}

/// Termination of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Termination {
    /// When, in milliseconds since 1970; a sidecar with a model's server ends last.
    pub finished_at_millis: i64,
    /// Exit code of the worker, `None` if it never ran.
    pub code: Option<i32>,
    /// The worker's termination message.
    pub message: TerminationMessage,
}

/// The termination message of a worker.
#[derive(Clone, Debug, PartialEq)]
pub enum TerminationMessage {
    /// The report of its task.
    Report(Box<StageReport>),
    /// What it found in its part of a preflight.
    Preflight(Box<PreflightReport>),
    /// The last lines of its log, or nothing.
    LogTail(String),
}

impl Termination {
    /// Returns the report if it is one of the stage with content key `key`.
    pub fn report(&self, key: &str) -> Option<&StageReport> {
        match &self.message {
            TerminationMessage::Report(report) if report.key == key => Some(report),
            _ => None,
        }
    }

    /// Returns why it failed, for display.
    pub fn failure_message(&self) -> String {
        match &self.message {
            TerminationMessage::Report(report) => match &report.outcome {
                Outcome::Failed { message } | Outcome::InputCorrupted { message, .. } => {
                    message.clone()
                }
                _ => self.exit_code_message(),
            },
            TerminationMessage::LogTail(words) if !words.is_empty() => {
                format!("{}: {words}", self.exit_code_message())
            }
            _ => self.exit_code_message(),
        }
    }

    fn exit_code_message(&self) -> String {
        match self.code {
            None => "the worker never ran".into(),
            Some(137) => "the worker was killed (exit code 137), most likely out of memory: raise its memory limit in spec.pods".into(),
            Some(code) => format!("the worker ended with exit code {code}"),
        }
    }
}

impl ObservedPod {
    /// Returns for how many milliseconds its worker has run until `now_millis`.
    pub fn lifetime(&self, now_millis: i64) -> i64 {
        let Some(began) = self.started_at_millis else {
            return 0;
        };
        let until = self
            .termination
            .as_ref()
            .map_or(now_millis, |end| end.finished_at_millis);
        (until - began).max(0)
    }
}

impl Reduce<Pod> for ObservedPod {
    fn reduce(pod: &Pod, _uid: &str) -> Option<Self> {
        let job = pod
            .owner_references()
            .iter()
            .find(|owner| owner.controller == Some(true) && owner.kind == "Job")?;
        let index = pod
            .annotations()
            .get("batch.kubernetes.io/job-completion-index");
        let status = pod.status.clone().unwrap_or_default();
        let created_at_millis = pod.metadata.creation_timestamp.as_ref().map_or(0, millis);
        // In a pod with a server the container that prepares its model starts first, and the pod holds its GPU from then on.
        let [prepared, ran] =
            [server::PREPARE_MODEL, CONTAINER].map(|name| ContainerRun::of(&status, name));
        let began = prepared.began.or(ran.began);
        // If the former fails, the latter never runs.
        let terminated = ran
            .ended
            .or(prepared.ended.filter(|end| end.exit_code != 0));
        Some(ObservedPod {
            name: pod.name_any(),
            uid: pod.uid()?,
            job: job.uid.clone(),
            identity: JobIdentity::read(pod.labels(), pod.annotations())?,
            index: index.and_then(|text| text.parse().ok()).unwrap_or(0),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            address: status.pod_ip.as_deref().and_then(|ip| ip.parse().ok()),
            on_gpu: pod.spec.as_ref().is_some_and(pod_holds_accelerator),
            deletion_timestamp_millis: pod.metadata.deletion_timestamp.as_ref().map(millis),
            started_at_millis: began.as_ref().map(millis),
            termination: termination(&status, terminated.as_ref(), created_at_millis),
            waiting_reason: waiting_reason(&status),
            is_creating: is_creating(&status),
            created_at_millis,
        })
    }
}

/// State of a container that runs the worker's program.
#[derive(Default)]
struct ContainerRun {
    began: Option<Time>,
    ended: Option<ContainerStateTerminated>,
}

impl ContainerRun {
    fn of(status: &PodStatus, name: &str) -> ContainerRun {
        let state = containers(status).find(|container| container.name == name);
        let state = state.and_then(|container| container.state.clone());
        let state = state.unwrap_or_default();
        let running = state.running.and_then(|running| running.started_at);
        let ended = state.terminated;
        ContainerRun {
            began: ended
                .as_ref()
                .and_then(|ended| ended.started_at.clone())
                .or(running),
            ended,
        }
    }
}

/// Returns the statuses of all containers, init containers first.
fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let before = status.init_container_statuses.iter().flatten();
    before.chain(status.container_statuses.iter().flatten())
}

/// Returns the termination of a pod, if it has ended.
fn termination(
    status: &PodStatus,
    terminated: Option<&ContainerStateTerminated>,
    created_at_millis: i64,
) -> Option<Termination> {
    let is_over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let finished = containers(status).filter_map(|container| {
        let state = container.state.as_ref()?;
        state.terminated.as_ref()?.finished_at.as_ref().map(millis)
    });
    match terminated {
        Some(terminated) => Some(Termination {
            finished_at_millis: finished.max().unwrap_or(created_at_millis),
            code: Some(terminated.exit_code),
            message: termination_message(terminated.message.as_deref().unwrap_or_default()),
        }),
        None if is_over => Some(Termination {
            finished_at_millis: status.start_time.as_ref().map_or(created_at_millis, millis),
            code: None,
            message: TerminationMessage::LogTail(status.message.clone().unwrap_or_default()),
        }),
        None => None,
    }
}

fn termination_message(message: &str) -> TerminationMessage {
    if let Ok(report) = serde_json::from_str::<StageReport>(message) {
        return TerminationMessage::Report(Box::new(report));
    }
    if let Ok(found) = serde_json::from_str::<PreflightReport>(message) {
        return TerminationMessage::Preflight(Box::new(found));
    }
    let words: Vec<char> = message.trim().chars().collect();
    let from = words.len().saturating_sub(LOG_TAIL_CHARS);
    TerminationMessage::LogTail(words[from..].iter().collect())
}

/// Reasons of waiting containers that do not resolve by themselves soon.
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

fn waiting_reason(status: &PodStatus) -> Option<String> {
    let conditions = status.conditions.iter().flatten();
    let unscheduled = conditions
        .filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
        .map(|condition| condition.message.clone().unwrap_or_default())
        .next();
    unscheduled.or_else(|| containers(status).find_map(stuck))
}

/// Starts of a server after which it counts as crash-looping.
const MAX_STARTS: i32 = 3;

/// Returns why a container does not start, or crash-loops.
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
        (None, Some(last)) if starts >= MAX_STARTS => last,
        _ => return None,
    };
    // The last log lines of a server say more than that it crashed.
    let TerminationMessage::LogTail(words) =
        termination_message(last.message.as_deref().unwrap_or_default())
    else {
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
    // A running init container means that the volumes are mounted.
    let has_started = ContainerRun::of(status, server::PREPARE_MODEL)
        .began
        .is_some();
    !has_started
        && reasons.any(|reason| reason == "ContainerCreating" || reason == "PodInitializing")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A pod with these statuses of its containers before the worker, and of the worker.
    fn pod(phase: &str, before: Value, worker: Value) -> ObservedPod {
        let limits = json!({"limits": {"nvidia.com/gpu": "1"}});
        let pod = json!({
            "metadata": {
                "name": "p", "uid": "u", "creationTimestamp": "2026-11-01T00:00:00Z",
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "j", "controller": true}],
                "labels": {"scalequest.dev/purpose": "run", "scalequest.dev/stage": "judge", "scalequest.dev/attempt": "0"},
                "annotations": {"scalequest.dev/key": "k"},
            },
            "spec": {
                "initContainers": [{"name": "model"}, {"name": "server", "restartPolicy": "Always", "resources": limits}],
                "containers": [{"name": "worker"}],
            },
            "status": {"phase": phase, "initContainerStatuses": before, "containerStatuses": [worker]},
        });
        ObservedPod::reduce(&serde_json::from_value(pod).unwrap(), "").expect("a worker's pod")
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
    fn failed_model_preparation_terminates_pod() {
        let model = container("model", ended(64, "the files have changed"), json!({}));
        let worker = container("worker", waiting("PodInitializing"), json!({}));
        let observed = pod("Failed", json!([model]), worker);
        let end = observed.termination.clone().expect("an end");
        assert_eq!(end.code, Some(64));
        assert!(end.failure_message().contains("the files have changed"));
        assert!(observed.on_gpu);
        assert_eq!(observed.lifetime(0), 50_000);
    }

    #[test]
    fn crash_looping_server_shows_log() {
        let before = |state: Value| {
            let model = container("model", ended(0, ""), json!({}));
            json!([model, container("server", state, ended(3, "no such model"))])
        };
        let worker = |state: Value| container("worker", state, json!({}));
        let running = json!({"running": {"startedAt": "2026-11-01T00:02:00Z"}});
        let observed = pod(
            "Running",
            before(waiting("CrashLoopBackOff")),
            worker(running.clone()),
        );
        let words = observed.waiting_reason.expect("words");
        assert!(
            words.contains("ended 3 times") && words.contains("no such model"),
            "{words}"
        );
        assert_eq!(observed.termination, None);
        let between = before(ended(3, "no such model"));
        let between = pod("Pending", between, worker(waiting("PodInitializing")));
        let words = between.waiting_reason.expect("words between two starts");
        assert!(words.contains("no such model"), "{words}");
        // The pod holds its GPU since its model was prepared.
        assert_eq!(
            observed.started_at_millis.map(|began| began % 60_000),
            Some(10_000)
        );
        // And until the server has ended, which outlives the worker.
        let mut late = ended(137, "");
        late["terminated"]["finishedAt"] = "2026-11-01T00:01:40Z".into();
        let over = pod("Succeeded", before(late), worker(ended(0, "")));
        assert_eq!(over.lifetime(0), 90_000);
        assert_eq!(over.termination.and_then(|end| end.code), Some(0));
        let well = pod("Running", before(running.clone()), worker(running));
        assert_eq!(well.waiting_reason, None);
        let begins = pod(
            "Pending",
            before(json!({})),
            worker(waiting("PodInitializing")),
        );
        assert!(!begins.is_creating);
    }
}
