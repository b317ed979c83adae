//! Pods: restricted, with the resources, volumes and stores of their stage.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use scalequest_crds::v1alpha1::Stage;

use super::fetched::{FETCHED, fetching};
use super::{RUN, built, pod};
use crate::names::Purpose;

#[test]
fn pods_are_restricted() {
    for job in built(RUN).all().into_iter().chain(fetching(FETCHED).all()) {
        let pod = pod(&job);
        assert_eq!(pod.automount_service_account_token, Some(false));
        assert_eq!(pod.restart_policy.as_deref(), Some("Never"));
        assert!(pod.host_network.is_none() && pod.host_pid.is_none() && pod.host_ipc.is_none());
        let context = pod.security_context.unwrap();
        assert_eq!(context.run_as_non_root, Some(true));
        assert!(context.run_as_user.is_some_and(|user| user > 0));
        assert_eq!(context.seccomp_profile.unwrap().type_, "RuntimeDefault");
        assert_eq!(pod.containers.len(), 1);
        for container in pod.containers {
            let context = container.security_context.unwrap();
            assert_eq!(context.allow_privilege_escalation, Some(false));
            assert_eq!(context.read_only_root_filesystem, Some(true));
            assert_eq!(
                context.capabilities.unwrap().drop,
                Some(vec!["ALL".to_string()])
            );
            assert!(context.privileged.is_none());
            let writable: Vec<_> = container
                .volume_mounts
                .unwrap()
                .into_iter()
                .filter(|mount| mount.read_only != Some(true))
                .map(|mount| mount.mount_path)
                .collect();
            assert!(
                writable
                    .iter()
                    .all(|path| ["/tmp", "/claims/datasets", "/claims/cache"]
                        .contains(&path.as_str())),
                "{writable:?}"
            );
        }
        for volume in pod.volumes.unwrap() {
            assert!(volume.host_path.is_none() && volume.secret.is_none());
        }
    }
}

#[test]
fn resources_go_to_run_jobs() {
    let built = built(RUN);
    let trains = pod(&built.job(Purpose::Run, Stage::Qft, None));
    let container = &trains.containers[0];
    let limits = container.resources.clone().unwrap().limits.unwrap();
    assert_eq!(limits["nvidia.com/gpu"].0, "1");
    assert_eq!(container.image.as_deref(), Some("registry/worker-cuda:1"));
    assert_eq!(trains.node_selector.unwrap()["pool"], "gpu");
    let seals = pod(&built.job(Purpose::Seal, Stage::Qft, None));
    assert_eq!(
        seals.containers[0].image.as_deref(),
        Some("registry/worker@sha256:1")
    );
    assert!(
        seals.containers[0]
            .resources
            .clone()
            .unwrap()
            .limits
            .is_none()
            && seals.node_selector.is_none()
    );
    let job = built.job(Purpose::Run, Stage::Judge, Some(&(0..10).collect()));
    assert_eq!(job.spec.unwrap().parallelism, Some(3));
}

#[test]
fn claims_and_images_are_mounted() {
    let built = built(RUN);
    let mounts = |job: &Job| -> BTreeSet<String> {
        let mounts = pod(job).containers[0].volume_mounts.clone().unwrap();
        mounts
            .into_iter()
            .map(|mount| mount.mount_path)
            .filter(|path| path.starts_with("/claims") || path.starts_with("/images"))
            .collect()
    };
    let set = |paths: &[&str]| {
        paths
            .iter()
            .map(|path| path.to_string())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(
        mounts(&built.job(Purpose::Run, Stage::Qft, None)),
        set(&["/claims/models", "/claims/seeds"])
    );
    assert_eq!(
        mounts(&built.job(Purpose::Seal, Stage::Qft, None)),
        set(&[])
    );
    assert_eq!(
        mounts(&built.all()[0]),
        set(&[
            "/claims/datasets",
            "/claims/models",
            "/claims/seeds",
            "/images/judge"
        ])
    );
}

#[test]
fn store_credentials_are_references() {
    let container = pod(&built(RUN).job(Purpose::Seal, Stage::Qft, None))
        .containers
        .remove(0);
    let env: Vec<(String, String)> = container
        .env
        .unwrap()
        .into_iter()
        .map(|each| (each.name, each.value.unwrap_or_default()))
        .collect();
    for (name, value) in [
        ("AWS_ENDPOINT_URL", "http://minio:9000"),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "eu"),
        ("SSL_CERT_FILE", "/etc/scalequest/ca/ca.crt"),
        ("TMPDIR", "/tmp"),
    ] {
        assert!(
            env.contains(&(name.to_string(), value.to_string())),
            "{name}: {env:?}"
        );
    }
    assert_eq!(
        container.env_from.unwrap()[0]
            .secret_ref
            .as_ref()
            .unwrap()
            .name,
        "s3"
    );
}

#[test]
fn endpoint_keys_reach_users_only() {
    let secret =
        "openAI: {baseUrl: \"https://llm/v1\", model: m, apiKeySecret: {name: llm, key: token}}";
    let run = built(&RUN.replace(
        "source: {image: {reference: registry/judge:1}}",
        &format!("engine: {{type: OpenAI, {secret}}}"),
    ));
    let holders = |job: &Job| -> Vec<String> {
        let env = pod(job).containers[0].env.clone().unwrap();
        let from_secret = env.into_iter().filter_map(|variable| {
            let source = variable.value_from?.secret_key_ref?;
            Some(format!("{} {}/{}", variable.name, source.name, source.key))
        });
        from_secret.collect()
    };
    let expected = ["SCALEQUEST_API_KEY_JUDGE llm/token"];
    let mut asked = 0;
    for job in run.all() {
        let labels = job.metadata.labels.clone().unwrap();
        let [purpose, stage] =
            ["purpose", "stage"].map(|name| labels.get(&format!("scalequest.dev/{name}")).cloned());
        let asks = purpose.as_deref() == Some("preflight")
            || (purpose.as_deref() == Some("run") && stage.as_deref() == Some("judge"));
        assert_eq!(
            holders(&job),
            if asks { &expected[..] } else { &[] },
            "{labels:?}"
        );
        asked += usize::from(asks);
    }
    assert_eq!(asked, 2);
}
