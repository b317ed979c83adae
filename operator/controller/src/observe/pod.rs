//! A pod of a Job, reduced to what decisions need: its termination with the worker's termination message, or why it does not start.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use scalequest_core::stage_machine::{AttemptEnd, FailureClass};
use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::protocol::exit_codes::worker::DONE;

use super::cache::Reduce;
use super::job::millis;
use super::termination::{Termination, TerminationMessage, containers, termination_message};
use super::waiting::PodWait;
use crate::names::JobIdentity;
use crate::resources::accelerator::pod_holds_accelerator;
use crate::resources::pod::CONTAINER;
use crate::resources::server;

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
    /// Whether it was evicted, preempted, or deleted with its node.
    pub is_disrupted: bool,
    /// Restarts of its containers: the server of its model.
    pub restarts: i32,
    /// What keeps it from starting or ending.
    pub wait: Option<PodWait>,
    /// Whether it is scheduled and its container is not created yet.
    pub is_creating: bool,
    /// When it was created, in milliseconds since 1970.
    pub created_at_millis: i64,
}

/// Returns the last termination of `pods` that is a failure.
pub fn last_failure<'a>(
    pods: impl Iterator<Item = &'a Arc<ObservedPod>>,
) -> Option<&'a Termination> {
    pods.filter_map(|pod| pod.termination.as_ref())
        .filter(|end| end.code != Some(0))
        .max_by_key(|end| end.finished_at_millis)
}

impl ObservedPod {
    /// Whether its worker runs: it has started and not ended.
    pub fn is_running(&self) -> bool {
        self.started_at_millis.is_some() && self.termination.is_none()
    }

    /// Returns how its attempt ended for the stage with content key `key`; `None` if it has not, or if it succeeded and its report is lost.
    pub fn attempt_end(&self, key: &str) -> Option<AttemptEnd> {
        let termination = self.termination.as_ref()?;
        let message = termination.failure_message();
        let report = termination.report(key);
        let is_deleted = self.is_disrupted || self.deletion_timestamp_millis.is_some();
        let transient = |cause, message| {
            let class = FailureClass::Transient(cause);
            Some(AttemptEnd::Failed { class, message })
        };
        match AttemptEnd::of(key, termination.code, report, message) {
            AttemptEnd::Failed {
                class: FailureClass::Unknown { code },
                message,
            } => match code {
                Some(DONE) => None,
                _ if is_deleted => Some(AttemptEnd::Interrupted),
                None => transient(Cause::PodRejected, message),
                Some(_) if termination.is_out_of_memory => transient(Cause::OutOfMemory, message),
                Some(_) => Some(AttemptEnd::Failed {
                    class: FailureClass::Unknown { code },
                    message,
                }),
            },
            end => Some(end),
        }
    }

    /// Returns for how many milliseconds its worker has run until `now_millis`, and for how many of them it held a GPU.
    pub fn lifetime(&self, now_millis: i64) -> (i64, i64) {
        let end = self.termination.as_ref();
        let until = end.map_or(now_millis, |end| end.finished_at_millis);
        let millis = self
            .started_at_millis
            .map_or(0, |began| (until - began).max(0));
        (millis, if self.on_gpu { millis } else { 0 })
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
        let [prepared, ran] = [server::PREPARE_MODEL, CONTAINER].map(|name| state(&status, name));
        // If the former fails, the latter never runs.
        let failed = |end: &&ContainerStateTerminated| end.exit_code != 0;
        let terminated = ran.terminated.as_ref();
        let terminated = terminated.or(prepared.terminated.as_ref().filter(failed));
        // In a pod with a server the container that prepares its model starts first, and the pod holds its GPU from then on.
        let started_at = started_at(&prepared).or(started_at(&ran));
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
            started_at_millis: started_at.map(millis),
            termination: termination(&status, terminated, created_at_millis),
            is_disrupted: is_disrupted(&status),
            restarts: containers(&status).map(|each| each.restart_count).sum(),
            wait: PodWait::of(&status),
            is_creating: is_creating(&status),
            created_at_millis,
        })
    }
}

fn is_disrupted(status: &PodStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|each| each.type_ == "DisruptionTarget" && each.status == "True")
}

/// Returns the state of the container called `name`.
fn state(status: &PodStatus, name: &str) -> ContainerState {
    let container = containers(status).find(|container| container.name == name);
    let state = container.and_then(|container| container.state.clone());
    state.unwrap_or_default()
}

/// Returns when a container started, even if it has ended.
fn started_at(state: &ContainerState) -> Option<&Time> {
    match (&state.terminated, &state.running) {
        (Some(ended), _) if ended.started_at.is_some() => ended.started_at.as_ref(),
        (_, running) => running.as_ref()?.started_at.as_ref(),
    }
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
            is_out_of_memory: terminated.reason.as_deref() == Some("OOMKilled"),
            message: termination_message(terminated.message.as_deref().unwrap_or_default()),
        }),
        None if is_over => Some(Termination {
            finished_at_millis: status.start_time.as_ref().map_or(created_at_millis, millis),
            code: None,
            is_out_of_memory: false,
            message: TerminationMessage::LogTail(status.message.clone().unwrap_or_default()),
        }),
        None => None,
    }
}

fn is_creating(status: &PodStatus) -> bool {
    let mut workers = status.container_statuses.iter().flatten();
    let is_waiting = |worker: &ContainerStatus| {
        let waiting = worker.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        Some(reason == "ContainerCreating" || reason == "PodInitializing")
    };
    // A running init container means that the volumes are mounted.
    let prepared = state(status, server::PREPARE_MODEL);
    started_at(&prepared).is_none() && workers.any(|worker| is_waiting(worker) == Some(true))
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
        assert_eq!(observed.lifetime(0), (50_000, 50_000));
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
        let words = observed.wait.expect("words").message;
        assert!(
            words.contains("crashes repeatedly") && words.contains("no such model"),
            "{words}"
        );
        assert_eq!(observed.termination, None);
        let between = before(ended(3, "no such model"));
        let between = pod("Pending", between, worker(waiting("PodInitializing")));
        let words = between.wait.expect("words between two starts").message;
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
        assert_eq!(over.lifetime(0).0, 90_000);
        assert_eq!(over.wait, None, "restarts of what has ended are no matter");
        assert_eq!(over.termination.and_then(|end| end.code), Some(0));
        let well = pod("Running", before(running.clone()), worker(running));
        assert_eq!(well.wait, None);
        let begins = pod(
            "Pending",
            before(json!({})),
            worker(waiting("PodInitializing")),
        );
        assert!(!begins.is_creating);
    }
}
