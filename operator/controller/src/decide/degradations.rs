//! Degradations: pods that cannot start, pods on unreachable nodes, Jobs without pods.

use std::collections::BTreeSet;

use scalequest_crds::v1alpha1::conditions::reason;

use super::ReconcileInput;
use crate::observe::warning_events::{GRACE_MILLIS, has_no_pod, is_stuck};
use scalequest_core::status::conditions::Degradation;

/// How long after its deletion timestamp a terminating pod counts as late.
const TERMINATION_GRACE_MILLIS: i64 = 30_000;

/// Maximum number of messages of a kind.
const MAX_MESSAGES: usize = 3;

/// Returns the degradations of all active pods and Jobs.
pub(super) fn of_pods(input: &ReconcileInput<'_>) -> Vec<Degradation> {
    let now = input.now_millis;
    let mut lost = BTreeSet::new();
    let mut waiting = BTreeSet::new();
    for pod in input
        .owned
        .pods
        .iter()
        .filter(|pod| pod.termination.is_none())
    {
        let is_late = pod
            .deletion_timestamp_millis
            .is_some_and(|at| now - at > TERMINATION_GRACE_MILLIS);
        if is_late {
            let node = pod.node.as_deref().unwrap_or("an unknown node");
            lost.insert(format!(
                "pod {} is stuck terminating on the unreachable node {node}; it is replaced once the node is deleted (kubectl delete node {node}) or tainted node.kubernetes.io/out-of-service",
                pod.name
            ));
        } else if let Some(message) = &pod.waiting_reason
            && now - pod.created_at_millis > GRACE_MILLIS
        {
            waiting.insert(not_starting(input, &pod.job, message));
        } else if is_stuck(pod, now) {
            let message = input.owned.warnings.get(&pod.uid);
            let message = message.map_or("its container is not created", String::as_str);
            waiting.insert(not_starting(input, &pod.job, message));
        }
    }
    for job in &input.owned.jobs {
        if has_no_pod(job, input.owned, now) {
            let message = input.owned.warnings.get(&job.uid).cloned();
            let message =
                message.unwrap_or_else(|| format!("see kubectl describe job {}", job.name));
            waiting.insert(format!("Job {} has no pod: {message}", job.name));
        }
    }
    let summarize = |messages: BTreeSet<String>, reason: &'static str| {
        let more = messages.len().saturating_sub(MAX_MESSAGES);
        let mut messages: Vec<String> = messages.into_iter().take(MAX_MESSAGES).collect();
        if more > 0 {
            messages.push("and more".into());
        }
        (!messages.is_empty()).then(|| Degradation::new(reason, messages.join("; ")))
    };
    let degradations = [
        summarize(lost, reason::NODE_LOST),
        summarize(waiting, reason::PODS_WAITING),
    ];
    degradations.into_iter().flatten().collect()
}

fn not_starting(input: &ReconcileInput<'_>, job: &str, message: &str) -> String {
    format!(
        "a pod of Job {} does not start: {message}",
        job_name(input, job)
    )
}

fn job_name<'a>(input: &ReconcileInput<'a>, uid: &'a str) -> &'a str {
    let job = input.owned.jobs.iter().find(|job| job.uid == uid);
    job.map_or(uid, |job| job.name.as_str())
}
