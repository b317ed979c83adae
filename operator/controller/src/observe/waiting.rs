//! What a pod waits for, from its status: a node, an image, or something that does not come by itself. Messages are without moving numbers, so
//! that a condition does not change with every node that comes or goes.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

use super::termination::{TerminationMessage, containers, termination_message};
use crate::resources::pod::CONTAINER;
use crate::resources::server;

/// What a pod or a Job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WaitCause {
    /// A quota of the namespace is used up.
    Quota,
    /// No node has room.
    Scheduling,
    /// An autoscaler adds a node.
    Autoscaling,
    /// An image is pulled, or its pull is retried.
    ImagePull,
    /// The Job is suspended, by Kueue for instance.
    Queue,
    /// Something that does not come by itself: a container that cannot be created or crashes, a volume that cannot be mounted.
    Correction,
}

/// What a pod waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodWait {
    /// The cause.
    pub cause: WaitCause,
    /// Kubernetes' words, without moving numbers.
    pub message: String,
}

impl PodWait {
    fn new(cause: WaitCause, message: impl Into<String>) -> Option<PodWait> {
        let message = message.into();
        Some(PodWait { cause, message })
    }

    /// Returns what keeps a pod from starting or ending, as its status says it.
    pub fn of(status: &PodStatus) -> Option<PodWait> {
        if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return None;
        }
        let mut conditions = status.conditions.iter().flatten();
        let unscheduled = conditions
            .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
        match unscheduled {
            Some(condition) => {
                let message = condition.message.as_deref().unwrap_or_default();
                PodWait::new(WaitCause::Scheduling, scheduling_message(message))
            }
            None if has_worker_ended(status) => foreign_container(status),
            None => containers(status).find_map(of_container),
        }
    }
}

/// Reasons of waiting containers whose image is not there.
const IMAGE_PULL: [&str; 2] = ["ImagePullBackOff", "ErrImagePull"];

/// Reasons of waiting containers that do not resolve by themselves.
const CORRECTION: [&str; 6] = [
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "ImageInspectError",
];

/// Starts of a server after which it counts as crash-looping.
const MAX_STARTS: i32 = 3;

/// Returns why a container does not start, or crash-loops.
fn of_container(container: &ContainerStatus) -> Option<PodWait> {
    let state = container.state.as_ref()?;
    let starts = container.restart_count + 1;
    let last = match (&state.waiting, &state.terminated) {
        (Some(waiting), _) => {
            let reason = waiting.reason.as_deref().unwrap_or_default();
            let message = waiting.message.as_deref().unwrap_or_default();
            if IMAGE_PULL.contains(&reason) {
                // The two reasons alternate, and their messages with them.
                let message = format!("image {} is not pulled", container.image);
                return PodWait::new(WaitCause::ImagePull, message);
            }
            if CORRECTION.contains(&reason) {
                return PodWait::new(WaitCause::Correction, format!("{reason}: {message}"));
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
    if container.name != server::SERVER {
        return None;
    }
    let code = last.exit_code;
    let message = format!(
        "the model's server crashes repeatedly, the last time with exit code {code}: {words}"
    );
    PodWait::new(WaitCause::Correction, message)
}

fn has_worker_ended(status: &PodStatus) -> bool {
    let mut all = status.container_statuses.iter().flatten();
    let has_ended = |container: &ContainerStatus| {
        let state = container.state.as_ref();
        state.is_some_and(|state| state.terminated.is_some())
    };
    all.any(|each| each.name == CONTAINER && has_ended(each))
}

/// Returns the container that the operator did not add and that runs on after the worker, so that the pod does not end.
fn foreign_container(status: &PodStatus) -> Option<PodWait> {
    let mut all = status.container_statuses.iter().flatten();
    let runs_on = |each: &&ContainerStatus| {
        let state = each.state.as_ref();
        each.name != CONTAINER && state.is_some_and(|state| state.running.is_some())
    };
    let foreign = all.find(runs_on)?;
    let message = format!(
        "its worker has ended, and the container {:?}, which the operator did not add, runs on: exclude the pods from its injection",
        foreign.name
    );
    PodWait::new(WaitCause::Correction, message)
}

/// Returns the scheduler's sentence without numbers of nodes: `0/5 nodes are available: 1 Insufficient cpu, 4 node(s) didn't match …` differs
/// whenever a node comes or goes.
pub fn scheduling_message(message: &str) -> String {
    let (_, reasons) = message
        .split_once("nodes are available: ")
        .unwrap_or(("", message));
    // The next sentence is about preemption.
    let (reasons, _) = reasons.split_once(". ").unwrap_or((reasons, ""));
    let reasons = reasons.trim_end_matches('.');
    let mut found: Vec<String> = Vec::new();
    for part in reasons.split(", ") {
        let text = part.trim_start_matches(|digit: char| digit.is_ascii_digit());
        match found.last_mut() {
            // A reason may itself contain a comma.
            Some(last) if text == part => *last = format!("{last}, {part}"),
            _ => found.push(text.trim_start().to_string()),
        }
    }
    let distinct: BTreeSet<String> = found.into_iter().collect();
    distinct.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scheduling_messages_have_no_moving_numbers() {
        let one = "0/5 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) had untolerated taint {a: b, c}, 3 node(s) didn't match Pod's node affinity/selector. preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling.";
        let other = "0/12 nodes are available: 7 node(s) didn't match Pod's node affinity/selector, 3 Insufficient nvidia.com/gpu, 2 node(s) had untolerated taint {a: b, c}. no new claims to deallocate, preemption: 0/12 nodes are available: 12 Preemption is not helpful.";
        let expected = "Insufficient nvidia.com/gpu, node(s) didn't match Pod's node affinity/selector, node(s) had untolerated taint {a: b, c}";
        assert_eq!(scheduling_message(one), expected);
        assert_eq!(scheduling_message(other), expected);
        assert_eq!(
            scheduling_message("Scheduling is blocked due to non-empty scheduling gates"),
            "Scheduling is blocked due to non-empty scheduling gates"
        );
    }

    #[test]
    fn injected_container_is_named() {
        let status = |worker: serde_json::Value| {
            let container = |name: &str, state| json!({"name": name, "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state});
            let status = json!({"phase": "Running", "containerStatuses": [
                container("proxy", json!({"running": {}})),
                container("worker", worker),
            ]});
            serde_json::from_value::<PodStatus>(status).expect("a status")
        };
        let ended = PodWait::of(&status(json!({"terminated": {"exitCode": 0}}))).expect("a wait");
        assert_eq!(ended.cause, WaitCause::Correction);
        assert!(ended.message.contains("\"proxy\""), "{}", ended.message);
        assert_eq!(PodWait::of(&status(json!({"running": {}}))), None);
    }
}
