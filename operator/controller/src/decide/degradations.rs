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
    let warnings = &input.owned.warnings;
    let pods = input.owned.pods.iter();
    for pod in pods.filter(|pod| pod.termination.is_none()) {
        let deleted_at = pod.deletion_timestamp_millis;
        if deleted_at.is_some_and(|at| now - at > TERMINATION_GRACE_MILLIS) {
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
            let message = warnings.get(&pod.uid);
            let message = message.map_or("its container is not created", String::as_str);
            waiting.insert(not_starting(input, &pod.job, message));
        }
    }
    for job in &input.owned.jobs {
        if has_no_pod(job, input.owned, now) {
            let message = warnings.get(&job.uid).cloned();
            let advice = || format!("see kubectl describe job {}", job.name);
            let message = message.unwrap_or_else(advice);
            waiting.insert(format!("Job {} has no pod: {message}", job.name));
        }
    }
    let summarize = |messages: BTreeSet<String>, reason: &'static str| {
        let more = (messages.len() > MAX_MESSAGES).then(|| "and more".to_string());
        let messages = messages.into_iter().take(MAX_MESSAGES).chain(more);
        let messages: Vec<String> = messages.collect();
        (!messages.is_empty()).then(|| Degradation::new(reason, messages.join("; ")))
    };
    let degradations = [
        summarize(lost, reason::NODE_LOST),
        summarize(waiting, reason::PODS_WAITING),
    ];
    degradations.into_iter().flatten().collect()
}

fn not_starting(input: &ReconcileInput<'_>, uid: &str, message: &str) -> String {
    let job = input.owned.jobs.iter().find(|job| job.uid == uid);
    let job = job.map_or(uid, |job| job.name.as_str());
    format!("a pod of Job {job} does not start: {message}")
}
