//! What needs a person's eye: pods that cannot start, pods on nodes that are gone, Jobs without pods.

use std::collections::BTreeSet;

use scalequest_crds::v1alpha1::conditions::reason;

use super::Scene;
use crate::observe::words::{PATIENCE_MILLIS, has_no_pod, is_stuck};
use scalequest_core::status::conditions::Trouble;

/// Time by which a pod that was to be gone may be late.
const LATE_MILLIS: i64 = 30_000;

/// Most sentences of a kind.
const TOLD: usize = 3;

/// Troubles of all pods and Jobs that are not over.
pub(super) fn of_pods(scene: &Scene<'_>) -> Vec<Trouble> {
    let now = scene.now_millis;
    let mut lost = BTreeSet::new();
    let mut waiting = BTreeSet::new();
    for pod in scene
        .belongings
        .pods
        .iter()
        .filter(|pod| pod.ended.is_none())
    {
        let is_late = pod.leaving_millis.is_some_and(|at| now - at > LATE_MILLIS);
        if is_late {
            let node = pod.node.as_deref().unwrap_or("an unknown node");
            lost.insert(format!(
                "pod {} should be gone from node {node}, which does not answer; it is replaced once the node is deleted (kubectl delete node {node}) or tainted node.kubernetes.io/out-of-service",
                pod.name
            ));
        } else if let Some(words) = &pod.waits_for
            && now - pod.made_millis > PATIENCE_MILLIS
        {
            waiting.insert(does_not_start(scene, &pod.job, words));
        } else if is_stuck(pod, now) {
            let words = scene.belongings.words.get(&pod.uid);
            let words = words.map_or("its container does not come to be", String::as_str);
            waiting.insert(does_not_start(scene, &pod.job, words));
        }
    }
    for job in &scene.belongings.jobs {
        if has_no_pod(job, scene.belongings, now) {
            let words = scene.belongings.words.get(&job.uid).cloned();
            let words =
                words.unwrap_or_else(|| format!("kubectl describe job {} says why", job.name));
            waiting.insert(format!("Job {} has no pod: {words}", job.name));
        }
    }
    let told = |sentences: BTreeSet<String>, reason: &'static str| {
        let more = sentences.len().saturating_sub(TOLD);
        let mut sentences: Vec<String> = sentences.into_iter().take(TOLD).collect();
        if more > 0 {
            sentences.push("and others like these".into());
        }
        (!sentences.is_empty()).then(|| Trouble::new(reason, sentences.join("; ")))
    };
    let troubles = [
        told(lost, reason::NODE_LOST),
        told(waiting, reason::PODS_WAITING),
    ];
    troubles.into_iter().flatten().collect()
}

fn does_not_start(scene: &Scene<'_>, job: &str, words: &str) -> String {
    format!(
        "a pod of Job {} does not start: {words}",
        job_name(scene, job)
    )
}

fn job_name<'a>(scene: &Scene<'a>, uid: &'a str) -> &'a str {
    let job = scene.belongings.jobs.iter().find(|job| job.uid == uid);
    job.map_or(uid, |job| job.name.as_str())
}
