//! The pod of a worker: restricted, without an API token, and with time to save a checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    Container, LocalObjectReference, PodSpec, ResourceRequirements, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use scalequest_crds::protocol::WORKER_PROGRAM;
use scalequest_crds::protocol::task::ModelServer;
use scalequest_crds::v1alpha1::{PodSettings, Quantity as Amount};
use scalequest_crds::v1alpha1::{Stage, SynthesisRunSpec};
use serde_json::json;

use super::accelerator::stage_holds_accelerator;
use super::config_maps::task_file;
use super::security::{restricted, restricted_pod};
use super::server;
use super::stores::{cache, keys, secrets, tokens, variable, variables};
use super::volumes::{TEMPORARY, TaskSource, volumes};
use super::{Common, object, pod_settings};
use crate::names::{JobIdentity, Purpose};

/// The worker's container, named by the pod failure policy.
pub const CONTAINER: &str = "worker";

/// Where a worker writes its report: the termination message.
pub const REPORT: &str = "/dev/termination-log";

/// Seconds that a worker has to save a checkpoint.
const GRACE_SECONDS: i64 = 120;

/// The same with a server sidecar: the worker saves rows, which is quick, and a server that ignores SIGTERM holds its GPU for as long.
const GRACE_SECONDS_WITH_SERVER: i64 = 45;

/// Parameters by which the pods of a run differ.
#[derive(Clone, Debug)]
pub struct PodWork<'a> {
    /// Identity of the Job.
    pub identity: &'a JobIdentity,
    /// Source of its task.
    pub task: TaskSource,
    /// Arguments of the worker.
    pub arguments: Vec<String>,
    /// Locations that it uses.
    pub locations: BTreeSet<String>,
    /// The server of its model, which runs as a sidecar.
    pub server: Option<ModelServer>,
    /// Whether it uses a downloaded model.
    pub fetches: bool,
}

/// Returns the pod of `work`.
pub fn pod(common: Common<'_>, work: PodWork<'_>) -> PodSpec {
    let Common {
        owner: _,
        spec,
        worker,
        settings,
    } = common;
    // Jobs with another purpose than Run are small and need no accelerator: they are placed like Publish.
    let computes = work.identity.purpose == Purpose::Run;
    let at = work.identity.stage().filter(|_| computes);
    let placed = pod_settings(spec, at.unwrap_or(Stage::Publish));
    // With a server sidecar the worker only sends requests.
    let asks_server = work.server.is_some();
    let on_gpu = at.is_some_and(|stage| stage_holds_accelerator(spec, stage)) && !asks_server;
    let gpu_image = worker.gpu_image.as_ref().filter(|_| on_gpu);
    let image = gpu_image.or(worker.image.as_ref());
    let image = image.unwrap_or(&settings.worker_image);
    let file = task_file(work.identity);
    let model_cache = spec.model_cache.as_ref().filter(|_| work.fetches);
    let mut locations = work.locations;
    locations.extend(model_cache.map(|cache| cache.claim.location()));
    let (mut volumes, mounts) = volumes(spec, (&work.task, file), &locations);
    let mut env = variables(spec);
    let asked = |model: &str| asks(spec, work.identity, model);
    env.extend(keys(spec, asked));
    if work.fetches {
        env.extend(tokens(spec, asked));
        env.extend(cache(spec));
    }
    env.push(variable("TMPDIR", TEMPORARY));
    env.push(variable("HOME", TEMPORARY));
    env.push(variable("SCALEQUEST_LOG_FORMAT", "json"));
    let given = match at {
        Some(_) => placed.map(resources).unwrap_or_default(),
        None => small(),
    };
    let mut container = Container {
        name: CONTAINER.into(),
        image: Some(image.clone()),
        image_pull_policy: Some(settings.image_pull_policy.clone()),
        command: Some(vec![WORKER_PROGRAM.into()]),
        args: Some(work.arguments),
        env: Some(env),
        env_from: Some(secrets(spec)).filter(|secrets| !secrets.is_empty()),
        resources: Some(match asks_server {
            true => small(),
            false => given.clone(),
        }),
        volume_mounts: Some(mounts),
        termination_message_path: Some(REPORT.into()),
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        security_context: Some(SecurityContext {
            read_only_root_filesystem: Some(true),
            ..restricted()
        }),
        ..Container::default()
    };
    let before = work.server.as_ref().map(|server| {
        volumes.extend(server::volumes());
        server::sidecars(&mut container, server, file, given)
    });
    let pull_secrets = settings.image_pull_secrets.iter();
    let pull_secrets = pull_secrets.map(|name| LocalObjectReference { name: name.clone() });
    let pull_secrets: Vec<_> = pull_secrets.collect();
    PodSpec {
        automount_service_account_token: Some(false),
        init_containers: before,
        containers: vec![container],
        enable_service_links: Some(false),
        image_pull_secrets: Some(pull_secrets).filter(|secrets| !secrets.is_empty()),
        node_selector: placed
            .map(|pods| pods.node_selector.clone())
            .filter(|selector| !selector.is_empty()),
        tolerations: placed
            .filter(|pods| !pods.tolerations.is_empty())
            .map(|pods| object(json!(pods.tolerations))),
        priority_class_name: spec.priority_class_name.clone(),
        restart_policy: Some("Never".into()),
        security_context: Some(restricted_pod()),
        service_account_name: spec.service_account_name.clone(),
        termination_grace_period_seconds: Some(match asks_server {
            true => GRACE_SECONDS_WITH_SERVER,
            false => GRACE_SECONDS,
        }),
        volumes: Some(volumes),
        ..PodSpec::default()
    }
}

/// Whether `identity` may use the endpoint, or the hub, of the model called `model`.
fn asks(spec: &SynthesisRunSpec, identity: &JobIdentity, model: &str) -> bool {
    match (identity.purpose, &identity.id) {
        (Purpose::Preflight, _) => true,
        (Purpose::Run | Purpose::Probe, Some(id)) => spec
            .model_of(id.stage, id.generator.as_deref())
            .is_some_and(|used| used.name == model),
        _ => false,
    }
}

/// Returns annotations that keep autoscalers from evicting a training pod, which would lose its progress since the last checkpoint.
pub fn disruption_annotations(identity: &JobIdentity) -> BTreeMap<String, String> {
    let trains =
        identity.purpose == Purpose::Run && identity.stage().is_some_and(Stage::makes_a_model);
    let annotations = [
        ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
        ("karpenter.sh/do-not-disrupt", "true"),
    ];
    let annotations = annotations.map(|(name, value)| (name.into(), value.into()));
    annotations.into_iter().filter(|_| trains).collect()
}

fn resources(pods: &PodSettings) -> ResourceRequirements {
    let Some(resources) = &pods.resources else {
        return ResourceRequirements::default();
    };
    let quantity = |amount: &Amount| Quantity(amount.to_string());
    let amounts = |named: &BTreeMap<String, Amount>| {
        let named = named.iter();
        let amounts = named.map(|(name, amount)| (name.clone(), quantity(amount)));
        Some(BTreeMap::from_iter(amounts)).filter(|amounts| !amounts.is_empty())
    };
    ResourceRequirements {
        requests: amounts(&resources.requests),
        limits: amounts(&resources.limits),
        claims: None,
    }
}

fn small() -> ResourceRequirements {
    object(json!({"requests": {"cpu": "100m", "memory": "256Mi"}}))
}
