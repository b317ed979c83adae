//! The Jobs of a preflight, of a stage's seal, of its shards and of its probe: Indexed, with a retry budget for each index (`backoffLimitPerIndex`) and a pod
//! failure policy by exit code, so that the Job controller retries without the operator.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::batch::v1::{Job, JobSpec, PodFailurePolicy};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use scalequest_crds::digest::sha256_hex;
use scalequest_crds::protocol::exit_codes::worker::{
    SHARD_FAILED_PERMANENTLY, STOPPED, TASK_FAILED_PERMANENTLY,
};
use scalequest_crds::protocol::preflight::parts;
use scalequest_crds::protocol::progress::PORT;
use scalequest_crds::protocol::shard_set::ShardSet;
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::SynthesisRunSpec;
use serde_json::json;

use super::config_maps::{spec_text, task_file, task_text};
use super::pod::{CONTAINER, PodWork, REPORT, disruption_annotations, pod};
use super::server;
use super::volumes::{TASK_FOLDER, TaskSource, locations};
use super::{Common, object, pod_settings};
use crate::names::{
    JobIdentity, KEY, Purpose, QUEUE, SHARD_INDEXES, TASK_ANNOTATION, TEMPLATE_HASH,
};
use scalequest_core::retry::SEAL_RETRIES;

/// Time to live of an ended preflight Job in seconds: longer than the longest backoff, since the next attempt counts from it.
const PREFLIGHT_TTL_SECONDS: i32 = 6 * 3600;

/// Time after which a probe has failed, in seconds: a store may answer neither yes nor no.
const PROBE_DEADLINE_SECONDS: i64 = 300;

/// Returns the preflight Job, with a completion index for each part.
pub fn preflight(common: Common<'_>, identity: &JobIdentity) -> Job {
    let spec = common.spec;
    let models = spec.models.iter().map(|model| model.located());
    let seeds = spec.seed_questions.iter().map(|file| file.location());
    let benchmarks = spec.benchmarks().iter().map(|file| file.location());
    let files = seeds.chain(benchmarks).map(|place| place.located());
    let places = [spec.workspace.located(), spec.output.located()];
    let located = models.chain(files).chain(places);
    let file = format!("{TASK_FOLDER}/{}", task_file(identity));
    let work = PodWork {
        identity,
        task: source(common, identity, spec_text(&common.owner.name, spec)),
        arguments: ["preflight", "--spec", &file].map(String::from).into(),
        locations: located.flatten().map(|(_, location)| location).collect(),
        server: None,
        fetches: spec.models.iter().any(|model| model.fetched().is_some()),
    };
    let shape = JobSpec {
        completions: i32::try_from(parts(spec).len()).ok(),
        parallelism: Some(i32::MAX),
        backoff_limit_per_index: i32::try_from(SEAL_RETRIES).ok(),
        ttl_seconds_after_finished: Some(PREFLIGHT_TTL_SECONDS),
        ..JobSpec::default()
    };
    job(common, shape, None, work)
}

/// Returns the Job of `identity`, for the stage of `task`. `shard_indexes`: its shards, `None` for all.
pub fn stage(
    common: Common<'_>,
    identity: &JobIdentity,
    task: &StageTask,
    shard_indexes: Option<&ShardSet>,
) -> Job {
    let is_seal = identity.purpose == Purpose::Seal;
    let is_run = identity.purpose == Purpose::Run;
    let is_probe = identity.purpose == Purpose::Probe;
    let mut locations = match is_seal {
        true => BTreeSet::new(),
        false => locations(&serde_json::to_value(&task.params).unwrap_or_default()),
    };
    locations.insert(task.workspace.clone());
    let command = match identity.purpose {
        Purpose::Seal => "seal",
        Purpose::Probe => "probe",
        _ => "run",
    };
    let file = format!("{TASK_FOLDER}/{}", task_file(identity));
    let mut arguments = vec![command.to_string(), "--task".into(), file];
    if let Some(shard_indexes) = shard_indexes {
        arguments.extend(["--shards".into(), shard_indexes.to_string()]);
    }
    if identity.purpose == Purpose::MarkFailed {
        arguments.push("--mark-failed".into());
    }
    if !is_seal && !is_probe {
        arguments.push("--seal-if-complete".into());
    }
    if is_run {
        arguments.extend(["--progress-port".into(), PORT.to_string()]);
    }
    let mut params = task.params.clone();
    let model = params.model_mut().filter(|_| is_run || is_probe);
    let work = PodWork {
        identity,
        task: source(common, identity, task_text(task)),
        arguments,
        locations,
        server: model
            .as_ref()
            .filter(|_| is_run)
            .and_then(|model| model.server.clone()),
        fetches: model.is_some_and(|model| model.location.is_fetched()),
    };
    let percent = common.spec.failure_policy.as_ref();
    let percent = percent.and_then(|policy| policy.max_failed_shards_percent);
    let max_failed = || allowed(task.shards(), percent.unwrap_or(DEFAULT_PERCENT));
    let (completions, retries) = match (is_seal, shard_indexes) {
        _ if is_probe => (Ok(1), 0),
        (true, _) => (Ok(1), SEAL_RETRIES),
        (_, Some(set)) => (i32::try_from(set.len()), common.settings.shard_retries),
        (_, None) => (i32::try_from(task.shards()), common.settings.shard_retries),
    };
    let shape = JobSpec {
        completions: Some(completions.unwrap_or(i32::MAX)),
        parallelism: Some(parallelism(common.spec, identity)),
        backoff_limit_per_index: i32::try_from(retries).ok(),
        max_failed_indexes: is_run.then(max_failed),
        active_deadline_seconds: is_probe.then_some(PROBE_DEADLINE_SECONDS),
        ttl_seconds_after_finished: Some(common.settings.job_ttl_seconds),
        ..JobSpec::default()
    };
    job(common, shape, shard_indexes.map(ShardSet::to_string), work)
}

/// Returns from where the pods of `identity` mount the task `text`.
pub fn source(common: Common<'_>, identity: &JobIdentity, text: String) -> TaskSource {
    if text.len() <= common.settings.task_in_pod_bytes {
        TaskSource::Annotation(text)
    } else {
        TaskSource::ConfigMap(identity.task_name(&common.owner.name, &common.owner.uid))
    }
}

/// Default of `failurePolicy.maxFailedShardsPercent`.
const DEFAULT_PERCENT: i32 = 5;

/// Returns how many of `total` shards may fail before the stage does.
fn allowed(total: i64, percent: i32) -> i32 {
    i32::try_from(i128::from(total.max(0)) * i128::from(percent.max(0)) / 100).unwrap_or(i32::MAX)
}

/// Returns the parallelism of `identity` by the spec.
pub fn parallelism(spec: &SynthesisRunSpec, identity: &JobIdentity) -> i32 {
    match (identity.purpose, identity.stage()) {
        (Purpose::Run, Some(stage)) => pod_settings(spec, stage)
            .and_then(|pods| pods.parallelism)
            .unwrap_or(1),
        (Purpose::MarkFailed, _) => 8,
        _ => i32::MAX,
    }
}

/// Completes `shape`, which holds what differs between Jobs, to the Job of `work`.
fn job(
    common: Common<'_>,
    shape: JobSpec,
    shard_indexes: Option<String>,
    mut work: PodWork<'_>,
) -> Job {
    let (owner, identity) = (common.owner, work.identity);
    work.arguments.extend(["--report".into(), REPORT.into()]);
    let labels = identity.labels(&owner.name, &owner.uid);
    let mut annotations = BTreeMap::from([(KEY.to_string(), identity.key.clone())]);
    annotations.extend(shard_indexes.map(|set| (SHARD_INDEXES.into(), set)));
    let mut pod_annotations = annotations.clone();
    pod_annotations.extend(disruption_annotations(identity));
    if let TaskSource::Annotation(text) = &work.task {
        pod_annotations.insert(TASK_ANNOTATION.into(), text.clone());
    }
    let queue = common.spec.queue_name.clone();
    let is_queued = queue.is_some();
    let mut job_labels = labels.clone();
    job_labels.extend(queue.map(|queue| (QUEUE.into(), queue)));
    let reporting = match work.server {
        Some(_) => &[CONTAINER, server::PREPARE_MODEL][..],
        None => &[CONTAINER],
    };
    let name = identity.job_name(&owner.name, &owner.uid);
    let completions = shape.completions.unwrap_or(i32::MAX).max(1);
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(pod_annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(pod(common, work)),
    };
    annotations.insert(TEMPLATE_HASH.into(), template_hash(&job_labels, &template));
    Job {
        metadata: owner.metadata(name, job_labels, annotations),
        spec: Some(JobSpec {
            completion_mode: Some("Indexed".into()),
            completions: Some(completions),
            parallelism: shape.parallelism.map(|pods| pods.clamp(1, completions)),
            pod_failure_policy: Some(failure_policy(reporting)),
            pod_replacement_policy: Some("Failed".into()),
            // Kueue unsuspends it; the controller never sets this field again.
            suspend: Some(is_queued),
            template,
            ..shape
        }),
        status: None,
    }
}

/// Returns the hash of all that an edit of the spec changes in a Job, except for its parallelism: labels, the queue among them, and template.
fn template_hash(labels: &BTreeMap<String, String>, template: &PodTemplateSpec) -> String {
    let text = json!({"labels": labels, "template": template}).to_string();
    sha256_hex(text.as_bytes())[..16].to_string()
}

/// Returns the pod failure policy, in order of its rules: an evicted pod, or one that stopped after a checkpoint, does not count; a permanent
/// failure of the task fails the Job, one of the shard its index; everything else counts against the retry budget. `containers`: those that run
/// the worker's program; exit codes of others have no meaning.
fn failure_policy(containers: &[&str]) -> PodFailurePolicy {
    let code = |container: &str, action: &str, code: i32| {
        let codes = json!({"containerName": container, "operator": "In", "values": [code]});
        json!({"action": action, "onExitCodes": codes})
    };
    let evicted = json!({"type": "DisruptionTarget", "status": "True"});
    let mut rules = vec![json!({"action": "Ignore", "onPodConditions": [evicted]})];
    for container in containers {
        rules.push(code(container, "Ignore", STOPPED));
        rules.push(code(container, "FailJob", TASK_FAILED_PERMANENTLY));
        rules.push(code(container, "FailIndex", SHARD_FAILED_PERMANENTLY));
    }
    object(json!({"rules": rules}))
}
