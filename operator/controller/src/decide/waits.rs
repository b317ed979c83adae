//! What pods and Jobs wait for. What a cluster gives in its own time is the condition Waiting, and a degradation only once the patience with its
//! cause is over; what does not come by itself is a degradation.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use scalequest_crds::v1alpha1::conditions::{WAITING, reason};

use super::ReconcileInput;
use crate::observe::job::{ObservedJob, millis};
use crate::observe::object_events::{GRACE_MILLIS, has_no_pod};
use crate::observe::pod::ObservedPod;
use crate::observe::waiting::{PodWait, WaitCause};
use crate::settings::Patience;
use scalequest_core::status::conditions::{Degradation, Wait};

/// How long after its deletion timestamp a terminating pod counts as late.
const TERMINATION_GRACE_MILLIS: i64 = 30_000;

/// Maximum number of messages of a kind.
const MAX_MESSAGES: usize = 3;

/// What the words of the API server and of the Job controller contain if a quota refuses an object.
const EXCEEDED_QUOTA: &str = "exceeded quota";

/// What the objects of a run wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// The condition Waiting.
    pub wait: Option<Wait>,
    /// What does not come by itself, or has not come for too long.
    pub degradations: Vec<Degradation>,
    /// In how many milliseconds this changes with the time alone.
    pub changes_in_millis: Option<i64>,
}

/// An object that waits.
struct Waiting {
    cause: WaitCause,
    message: String,
    since_millis: i64,
    /// Whether the pods of its Job run beside it: the stage progresses.
    is_elastic: bool,
}

/// Returns the reason of the condition Waiting; `None` if the cause does not go by itself.
pub fn reason_of(cause: WaitCause) -> Option<&'static str> {
    match cause {
        WaitCause::Quota => Some(reason::QUOTA),
        WaitCause::Scheduling => Some(reason::SCHEDULING),
        WaitCause::Autoscaling => Some(reason::AUTOSCALING),
        WaitCause::ImagePull => Some(reason::IMAGE_PULL),
        WaitCause::Queue => Some(reason::QUEUE),
        WaitCause::Correction => None,
    }
}

/// Returns the patience with a cause in milliseconds; none with what does not go by itself.
pub fn patience_millis(patience: &Patience, cause: WaitCause) -> i64 {
    let patience = match cause {
        WaitCause::Scheduling => patience.scheduling,
        WaitCause::Autoscaling => patience.autoscaling,
        WaitCause::ImagePull => patience.image_pull,
        WaitCause::Quota => patience.quota,
        WaitCause::Queue => patience.queue,
        WaitCause::Correction => Duration::ZERO,
    };
    i64::try_from(patience.as_millis()).unwrap_or(i64::MAX)
}

/// Whether a request or a pod was refused since a quota is used up.
pub fn is_quota(message: &str) -> bool {
    message.contains(EXCEEDED_QUOTA)
}

/// Returns what follows from requests that the API server rejected with these messages. `before`: the conditions of the current status; that of a
/// quota says for how long it has lasted.
pub fn of_rejections(
    messages: &[String],
    before: &[Condition],
    patience: &Patience,
    now_millis: i64,
) -> Waits {
    let (quota, others): (Vec<&String>, Vec<&String>) =
        messages.iter().partition(|message| is_quota(message));
    let mut known = before.iter();
    let waits_since = known
        .find(|each| each.type_ == WAITING && each.status == "True" && each.reason == reason::QUOTA)
        .map_or(now_millis, |each| millis(&each.last_transition_time));
    let is_over = now_millis - waits_since > patience_millis(patience, WaitCause::Quota);
    let degrading = quota.iter().filter(|_| is_over).map(|message| {
        let message = message.as_str();
        Degradation::new(reason::PODS_WAITING, message)
    });
    let rejected = others.iter().map(|message| {
        let message = message.as_str();
        Degradation::new(reason::API_REQUEST_REJECTED, message)
    });
    Waits {
        wait: quota.first().map(|message| Wait {
            reason: reason::QUOTA,
            message: message.to_string(),
        }),
        degradations: rejected.chain(degrading).collect(),
        changes_in_millis: None,
    }
}

/// Returns what the active pods and Jobs of the run wait for.
pub(super) fn waits(input: &ReconcileInput<'_>) -> Waits {
    let now = input.now_millis;
    let mut lost = BTreeSet::new();
    let mut waiting = Vec::new();
    for pod in &input.owned.pods {
        let deleted_at = pod.deletion_timestamp_millis;
        match deleted_at {
            Some(at) if pod.termination.is_none() && now - at > TERMINATION_GRACE_MILLIS => {
                lost.insert(on_lost_node(pod));
            }
            Some(_) => {}
            None => waiting.extend(of_pod(input, pod)),
        }
    }
    waiting.extend(input.owned.jobs.iter().filter_map(|job| of_job(input, job)));
    let (mut waits, mut degrading) = (BTreeSet::new(), BTreeSet::new());
    let mut changes_in_millis: Option<i64> = None;
    for each in waiting {
        let waited = now - each.since_millis;
        let patience = match reason_of(each.cause) {
            Some(_) if each.is_elastic => i64::MAX,
            Some(_) => patience_millis(&input.settings.patience, each.cause),
            None => GRACE_MILLIS,
        };
        let next = [GRACE_MILLIS, patience]
            .into_iter()
            .find(|at| *at >= waited);
        let next = next.filter(|at| *at < i64::MAX).map(|at| at - waited + 1);
        changes_in_millis = changes_in_millis.into_iter().chain(next).min();
        if waited > patience.max(GRACE_MILLIS) {
            degrading.insert((each.cause, each.message.clone()));
        }
        if waited > GRACE_MILLIS
            && let Some(reason) = reason_of(each.cause)
        {
            waits.insert((each.cause, reason, each.message));
        }
    }
    let wait = waits.first().map(|(_, reason, _)| *reason);
    let messages = waits.iter().map(|(_, _, message)| message.as_str());
    let wait = wait.map(|reason| Wait {
        reason,
        message: joined(messages),
    });
    let degradations = [
        (reason::NODE_LOST, joined(lost.iter().map(String::as_str))),
        (
            reason::PODS_WAITING,
            joined(degrading.iter().map(|(_, message)| message.as_str())),
        ),
    ];
    let degradations = degradations.into_iter();
    Waits {
        wait,
        degradations: degradations
            .filter(|(_, message)| !message.is_empty())
            .map(|(reason, message)| Degradation::new(reason, message))
            .collect(),
        changes_in_millis,
    }
}

fn on_lost_node(pod: &ObservedPod) -> String {
    let node = pod.node.as_deref().unwrap_or("an unknown node");
    format!(
        "pod {} is stuck terminating on the unreachable node {node}; it is replaced once the node is deleted (kubectl delete node {node}) or tainted node.kubernetes.io/out-of-service",
        pod.name
    )
}

fn of_pod(input: &ReconcileInput<'_>, pod: &ObservedPod) -> Option<Waiting> {
    let events = input.owned.events.get(&pod.uid);
    let uncreated = || {
        let warning = events.and_then(|events| events.warning.clone());
        pod.is_creating.then(|| PodWait {
            cause: WaitCause::Correction,
            message: warning.unwrap_or_else(|| "its container is not created".into()),
        })
    };
    let PodWait { cause, message } = pod.wait.clone().or_else(uncreated)?;
    let is_scaling = events.is_some_and(|events| events.is_scaling);
    let cause = match cause {
        WaitCause::Scheduling if is_scaling => WaitCause::Autoscaling,
        cause => cause,
    };
    let job = input.owned.jobs.iter().find(|job| job.uid == pod.job);
    let name = job.map_or(pod.job.as_str(), |job| job.name.as_str());
    let what = match cause {
        WaitCause::Scheduling => "cannot be scheduled",
        WaitCause::Autoscaling => "waits for a node that an autoscaler adds",
        WaitCause::ImagePull => "waits for its image",
        _ if pod.termination.is_some() => "does not end",
        _ => "does not start",
    };
    let mut others = input.owned.pods.iter().filter(|other| other.job == pod.job);
    let ended_at = pod.termination.as_ref().map(|end| end.finished_at_millis);
    Some(Waiting {
        cause,
        message: format!("a pod of Job {name} {what}: {message}"),
        since_millis: ended_at.unwrap_or(pod.created_at_millis),
        is_elastic: others.any(|other| other.is_running()),
    })
}

fn of_job(input: &ReconcileInput<'_>, job: &ObservedJob) -> Option<Waiting> {
    let waiting = |cause, message| {
        Some(Waiting {
            cause,
            message,
            since_millis: job.created_at_millis,
            is_elastic: false,
        })
    };
    let name = &job.name;
    if job.is_suspended && job.is_active() {
        let events = input.owned.events.get(&job.uid);
        let words = events.and_then(|events| events.warning.as_ref());
        let words = words.map(|words| format!(": {words}")).unwrap_or_default();
        let message = match &job.queue {
            Some(queue) => format!("Job {name} waits for queue {queue}{words}"),
            None => format!(
                "Job {name} is suspended, and not by the operator: an admission policy or a user did so; exclude the run's Jobs from the policy, or resume the Job (kubectl patch job {name} -p '{{\"spec\":{{\"suspend\":false}}}}')"
            ),
        };
        return waiting(WaitCause::Queue, message);
    }
    if !has_no_pod(job, input.owned) {
        return None;
    }
    let events = input.owned.events.get(&job.uid);
    let message = events.and_then(|events| events.warning.clone());
    let cause = match message.as_deref().is_some_and(is_quota) {
        true => WaitCause::Quota,
        false => WaitCause::Correction,
    };
    let message = message.map(|message| without_pod_name(&message));
    let message = message.unwrap_or_else(|| format!("see kubectl describe job {name}"));
    waiting(cause, format!("Job {name} has no pod: {message}"))
}

/// Returns the Job controller's words without the name of the pod that it tried to create, which differs each time.
fn without_pod_name(message: &str) -> String {
    let Some((before, rest)) = message.split_once("pods \"") else {
        return message.into();
    };
    match rest.split_once('"') {
        Some((_, after)) => format!("{before}pods{after}"),
        None => message.into(),
    }
}

fn joined<'a>(messages: impl Iterator<Item = &'a str> + Clone) -> String {
    let more = messages.clone().nth(MAX_MESSAGES).map(|_| "and more");
    let all: Vec<&str> = messages.take(MAX_MESSAGES).chain(more).collect();
    all.join("; ")
}
