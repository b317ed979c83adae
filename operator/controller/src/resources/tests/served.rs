//! A model's server beside the worker.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Container;
use scalequest_crds::protocol::task::{ModelLocation, ModelServer, SERVER_URL};
use scalequest_crds::v1alpha1::Stage;

use super::{Built, RUN, built, pod, work};
use crate::names::Purpose;
use crate::resources::job::stage;

/// [`RUN`] with its judge served by a container beside the worker.
fn served() -> Built {
    let engine = "engine: {type: Server, server: {image: registry/vllm:1, command: [vllm, serve, \"{model}\", --port, \"{port}\"]}}";
    built(&RUN.replace(
        "source: {image: {reference: registry/judge:1}}",
        &format!("source: {{image: {{reference: registry/judge:1}}}}, {engine}"),
    ))
}

/// The Job of the judge's shards, whose model is served.
fn judged(built: &Built, purpose: Purpose) -> Job {
    let mut task = built.task(Stage::Judge);
    let server = built.run.spec().server_of(Stage::Judge, None).unwrap();
    let model = task.params.model_mut().unwrap();
    model.location = ModelLocation::Path("/images/judge".into());
    model.server = Some(ModelServer {
        command: server.command.clone(),
        image: server.image.clone(),
    });
    stage(built.common(), &work(purpose, Stage::Judge), &task, None)
}

#[test]
fn server_runs_as_sidecar() {
    let built = served();
    let job = judged(&built, Purpose::Run);
    let pod = pod(&job);
    let [place, server] = &pod.init_containers.clone().unwrap()[..] else {
        panic!("{:?}", pod.init_containers);
    };
    let worker = &pod.containers[0];
    assert_eq!(place.image, worker.image);
    let arguments = place.args.clone().unwrap();
    assert_eq!(
        arguments[..5],
        [
            "prepare-model",
            "--task",
            "/etc/scalequest/task/task.json",
            "--at",
            "/served/model"
        ]
    );
    assert_eq!(server.restart_policy.as_deref(), Some("Always"));
    assert_eq!(
        server.command.clone().unwrap(),
        ["vllm", "serve", "/served/model", "--port", "8000"]
    );
    // The GPU is the server's, which sees the model and can change nothing of it.
    let gpus = |container: &Container| {
        let resources = container.resources.clone().unwrap_or_default();
        resources
            .limits
            .is_some_and(|limits| limits.contains_key("nvidia.com/gpu"))
    };
    assert!(gpus(server) && !gpus(worker) && !gpus(place));
    assert_eq!(worker.image.as_deref(), Some("registry/worker@sha256:1"));
    let mounts: Vec<(String, bool)> = server
        .volume_mounts
        .clone()
        .unwrap()
        .into_iter()
        .map(|mount| (mount.mount_path, mount.read_only == Some(true)))
        .collect();
    let mounted = |path: &str, read_only: bool| mounts.contains(&(path.into(), read_only));
    assert!(mounted("/images/judge", true) && mounted("/served", true) && mounted("/tmp", false));
    let writable: Vec<_> = mounts.iter().filter(|(_, read_only)| !read_only).collect();
    assert_eq!(writable.len(), 2, "{mounts:?}");
    assert!(!mounts.iter().any(|(path, _)| path.starts_with("/etc")));
    assert!(server.env_from.is_none());
    let url = |container: &Container| {
        let env = container.env.clone().unwrap();
        env.into_iter()
            .find(|each| each.name == SERVER_URL)
            .and_then(|each| each.value)
    };
    assert_eq!(url(worker).as_deref(), Some("http://127.0.0.1:8000/v1"));
    assert_eq!(url(place), None);
    for container in [place, server, worker] {
        let context = container.security_context.clone().unwrap();
        assert_eq!(context.allow_privilege_escalation, Some(false));
        assert_eq!(
            context.capabilities.unwrap().drop,
            Some(vec!["ALL".to_string()])
        );
    }
    // What the worker's program says by its exit code counts in both containers that run it.
    let rules = job.spec.unwrap().pod_failure_policy.unwrap().rules;
    let named: BTreeSet<String> = rules
        .into_iter()
        .filter_map(|rule| rule.on_exit_codes?.container_name)
        .collect();
    assert_eq!(
        named,
        BTreeSet::from(["model".to_string(), "worker".to_string()])
    );
}

#[test]
fn other_jobs_have_no_server() {
    let built = served();
    for purpose in [Purpose::Seal, Purpose::MarkFailed] {
        assert!(pod(&judged(&built, purpose)).init_containers.is_none());
    }
    assert!(pod(&built.all()[0]).init_containers.is_none());
}
