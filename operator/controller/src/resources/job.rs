//! The Jobs of a preflight, of a stage's seal and of its shards: Indexed, with a retry budget for each index (`backoffLimitPerIndex`) and a pod
//! failure policy by exit code, so that the Job controller retries without the operator.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use scalequest_crds::protocol::exit_codes::worker::{
    SHARD_FAILED_PERMANENTLY, STOPPED, TASK_FAILED_PERMANENTLY,
};
use scalequest_crds::protocol::preflight::parts;
use scalequest_crds::protocol::progress::PORT;
use scalequest_crds::protocol::task::{ModelServer, StageTask};
use scalequest_crds::v1alpha1::SynthesisRunSpec;

use super::config_maps::{SPEC, TASK, spec_text, task_text};
use super::pod::{CONTAINER, PodWork, REPORT, disruption_annotations, pod};
use super::server;
use super::task::TaskSource;
use super::volumes::{TASK_FOLDER, locations};
use super::{Owner, pod_settings};
use crate::indexes;
use crate::names::{JobIdentity, KEY, Purpose, SHARD_INDEXES, TASK_ANNOTATION};
use crate::settings::Settings;
use scalequest_core::record::WorkerIdentity;
use scalequest_core::retry::SEAL_RETRIES;

/// Time to live of an ended preflight Job in seconds; an invalid spec is checked again afterwards.
const PREFLIGHT_TTL_SECONDS: i32 = 300;

/// The label of a Job's Kueue queue.
const QUEUE: &str = "kueue.x-k8s.io/queue-name";

/// Parameters that all Jobs of a run share.
#[derive(Clone, Copy, Debug)]
pub struct Common<'a> {
    /// The run that owns them.
    pub owner: &'a Owner,
    /// Its resolved spec.
    pub spec: &'a SynthesisRunSpec,
    /// The pinned worker.
    pub worker: &'a WorkerIdentity,
    /// Settings of the controller.
    pub settings: &'a Settings,
}

/// Returns the preflight Job, with a completion index for each part.
pub fn preflight(common: Common<'_>, identity: &JobIdentity) -> Job {
    let spec = serde_json::to_value(common.spec).unwrap_or_default();
    let mut locations = locations(&spec);
    let models = common.spec.models.iter().map(|model| model.located());
    let seeds = common
        .spec
        .seed_questions
        .iter()
        .map(|file| file.location().located());
    let benchmarks = common.spec.benchmarks().iter();
    let places = [
        common.spec.workspace.located(),
        common.spec.output.located(),
    ];
    let all = models
        .chain(seeds)
        .chain(benchmarks.map(|file| file.location().located()))
        .chain(places);
    locations.extend(all.flatten().map(|(_, location)| location));
    let arguments = ["preflight", "--spec", &format!("{TASK_FOLDER}/{SPEC}")].map(String::from);
    let shape = JobShape {
        completions: count(parts(common.spec).len()),
        parallelism: i32::MAX,
        retries: SEAL_RETRIES,
        max_failed: None,
        ttl_seconds: PREFLIGHT_TTL_SECONDS,
        shard_indexes: None,
        server: None,
    };
    let text = spec_text(&common.owner.name, common.spec);
    let task = source(common, identity, text);
    let fetches = common
        .spec
        .models
        .iter()
        .any(|model| model.fetched().is_some());
    let uses = Uses { locations, fetches };
    job(common, identity, &shape, arguments.into(), uses, task)
}

/// Returns the Job of `identity`, for the stage of `task`. `shard_indexes`: its shards, `None` for all.
pub fn stage(
    common: Common<'_>,
    identity: &JobIdentity,
    task: &StageTask,
    shard_indexes: Option<&BTreeSet<i64>>,
) -> Job {
    let is_seal = identity.purpose == Purpose::Seal;
    let mut locations = match is_seal {
        true => BTreeSet::new(),
        false => locations(&serde_json::to_value(&task.params).unwrap_or_default()),
    };
    locations.insert(task.workspace.clone());
    let mut params = task.params.clone();
    let model = params
        .model_mut()
        .filter(|_| identity.purpose == Purpose::Run);
    let uses = Uses {
        locations,
        fetches: model.is_some_and(|model| model.location.is_fetched()),
    };
    let command = if is_seal { "seal" } else { "run" };
    let mut arguments = vec![
        command.to_string(),
        "--task".into(),
        format!("{TASK_FOLDER}/{TASK}"),
    ];
    if let Some(shard_indexes) = shard_indexes {
        arguments.extend(["--shards".into(), indexes::format(shard_indexes)]);
    }
    if identity.purpose == Purpose::MarkFailed {
        arguments.push("--mark-failed".into());
    }
    if !is_seal {
        arguments.push("--seal-if-complete".into());
    }
    if identity.purpose == Purpose::Run {
        arguments.extend(["--progress-port".into(), PORT.to_string()]);
    }
    let shards = match (is_seal, shard_indexes) {
        (true, _) => 1,
        (false, Some(shard_indexes)) => count(shard_indexes.len()),
        (false, None) => i32::try_from(task.shards()).unwrap_or(i32::MAX),
    };
    let percent = common.spec.failure_policy.as_ref();
    let percent = percent.and_then(|policy| policy.max_failed_shards_percent);
    let shape = JobShape {
        completions: shards,
        parallelism: parallelism(common.spec, identity),
        retries: if is_seal {
            SEAL_RETRIES
        } else {
            common.settings.shard_retries
        },
        max_failed: (identity.purpose == Purpose::Run)
            .then(|| allowed(task.shards(), percent.unwrap_or(DEFAULT_PERCENT))),
        ttl_seconds: common.settings.job_ttl_seconds,
        shard_indexes: shard_indexes.map(indexes::format),
        server: server::of(task).filter(|_| identity.purpose == Purpose::Run),
    };
    let task = source(common, identity, task_text(task));
    job(common, identity, &shape, arguments, uses, task)
}

/// Returns from where the pods of `identity` mount their task.
pub fn source(common: Common<'_>, identity: &JobIdentity, text: String) -> TaskSource {
    let name = || identity.task_name(&common.owner.name, &common.owner.uid);
    TaskSource::of(text, common.settings, name)
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

/// Parameters by which the Jobs of a run differ.
struct JobShape {
    completions: i32,
    parallelism: i32,
    retries: u32,
    max_failed: Option<i32>,
    ttl_seconds: i32,
    shard_indexes: Option<String>,
    server: Option<ModelServer>,
}

/// What pods use in addition to their task.
struct Uses {
    locations: BTreeSet<String>,
    /// Whether they use a downloaded model.
    fetches: bool,
}

fn job(
    common: Common<'_>,
    identity: &JobIdentity,
    shape: &JobShape,
    mut arguments: Vec<String>,
    uses: Uses,
    task: TaskSource,
) -> Job {
    let Common {
        owner,
        spec,
        worker,
        settings,
    } = common;
    arguments.extend(["--report".into(), REPORT.into()]);
    let labels = identity.labels(&owner.name, &owner.uid);
    let mut annotations = BTreeMap::from([(KEY.to_string(), identity.key.clone())]);
    annotations.extend(
        shape
            .shard_indexes
            .clone()
            .map(|shard_indexes| (SHARD_INDEXES.into(), shard_indexes)),
    );
    let mut pod_annotations = annotations.clone();
    pod_annotations.extend(disruption_annotations(identity));
    if let TaskSource::Annotation(text) = &task {
        pod_annotations.insert(TASK_ANNOTATION.into(), text.clone());
    }
    let mut job_labels = labels.clone();
    job_labels.extend(spec.queue_name.clone().map(|queue| (QUEUE.into(), queue)));
    let pod_work = PodWork {
        identity,
        task,
        arguments,
        locations: uses.locations,
        fetches: uses.fetches,
        server: shape.server.clone(),
    };
    let reporting = match shape.server {
        Some(_) => &[CONTAINER, server::PREPARE_MODEL][..],
        None => &[CONTAINER],
    };
    Job {
        metadata: owner.metadata(
            identity.job_name(&owner.name, &owner.uid),
            job_labels,
            annotations,
        ),
        spec: Some(JobSpec {
            completion_mode: Some("Indexed".into()),
            completions: Some(shape.completions.max(1)),
            parallelism: Some(shape.parallelism.clamp(1, shape.completions.max(1))),
            backoff_limit_per_index: i32::try_from(shape.retries).ok(),
            max_failed_indexes: shape.max_failed,
            pod_failure_policy: Some(failure_policy(reporting)),
            pod_replacement_policy: Some("Failed".into()),
            // Kueue unsuspends it; the controller never sets this field again.
            suspend: Some(spec.queue_name.is_some()),
            ttl_seconds_after_finished: Some(shape.ttl_seconds),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(pod_annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(spec, worker, settings, pod_work)),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// Returns the pod failure policy, in order of its rules: an evicted pod, or one that stopped after a checkpoint, does not count; a permanent
/// failure of the task fails the Job, one of the shard its index; everything else counts against the retry budget. `containers`: those that run
/// the worker's program; exit codes of others have no meaning.
fn failure_policy(containers: &[&str]) -> PodFailurePolicy {
    let code = |container: &str, action: &str, code: i32| PodFailurePolicyRule {
        action: action.into(),
        on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
            container_name: Some(container.into()),
            operator: "In".into(),
            values: vec![code],
        }),
        on_pod_conditions: None,
    };
    let moved = PodFailurePolicyRule {
        action: "Ignore".into(),
        on_exit_codes: None,
        on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
            type_: "DisruptionTarget".into(),
            status: "True".into(),
        }]),
    };
    let codes = containers.iter().flat_map(|container| {
        [
            code(container, "Ignore", STOPPED),
            code(container, "FailJob", TASK_FAILED_PERMANENTLY),
            code(container, "FailIndex", SHARD_FAILED_PERMANENTLY),
        ]
    });
    PodFailurePolicy {
        rules: std::iter::once(moved).chain(codes).collect(),
    }
}

fn count(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}
