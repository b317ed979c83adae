//! What a cluster's own rules do to the objects of a run: policies that suspend every Job, change labels, inject a container or refuse pods;
//! quotas and limit ranges, from the start and in the middle of a stage. Each is named in a condition within a minute, and the run completes with the
//! outcome of an undisturbed one when it is gone.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{LimitRange, Pod, ResourceQuota};
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use scalequest_crds::v1alpha1::conditions::reason;
use scalequest_crds::v1alpha1::{Stage, SynthesisRun};
use scalequest_tests::kubernetes::Cluster;
use scalequest_tests::kubernetes::api_proxy::Treatment;
use scalequest_tests::kubernetes::simulated_run::{NAME, SimulatedRun, run, says};
use scalequest_tests::kubernetes::simulated_worker::{FaultPlan, PausedWorker};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{SERVERS, reference};

/// Time within which a condition names what is refused: a minute, and some more on a busy machine.
const SHOWN_WITHIN: Duration = Duration::from_secs(90);

async fn shown(run: &SimulatedRun, reason: &str, words: &str) {
    let told = |run: &SynthesisRun| says(run, reason, words);
    let space = &run.space;
    space.wait_within(SHOWN_WITHIN, NAME, told).await;
}

async fn begin(purpose: &str) -> SimulatedRun {
    let cluster = Cluster::shared();
    SimulatedRun::begin(cluster, purpose, Treatment::default(), FaultPlan::default()).await
}

async fn completes(mut run: SimulatedRun) {
    let end = run.complete().await;
    assert_eq!(end.outcome(), reference().await.outcome());
}

/// A mutating admission policy for one namespace, until it is removed.
struct MutatingPolicy {
    name: String,
}

impl MutatingPolicy {
    fn api(kind: &str) -> ApiResource {
        let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
        ApiResource::from_gvk_with_plural(
            &kind,
            match kind.kind.ends_with("Binding") {
                true => "mutatingadmissionpolicybindings",
                false => "mutatingadmissionpolicies",
            },
        )
    }

    /// A policy that applies `patch`, an expression for a JSON patch, to what is created of `resource`.
    async fn create(
        run: &SimulatedRun,
        group: &str,
        resource: &str,
        patch: &str,
    ) -> MutatingPolicy {
        let name = format!("tests-{}", run.space.name());
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail", "reinvocationPolicy": "Never",
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": run.space.name()}},
                    "resourceRules": [{
                        "apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource],
                    }],
                },
                "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
            },
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": name}, "spec": {"policyName": name},
        });
        for (kind, manifest) in [
            ("MutatingAdmissionPolicy", policy),
            ("MutatingAdmissionPolicyBinding", binding),
        ] {
            let api: Api<DynamicObject> = Api::all_with(run.space.client(), &Self::api(kind));
            let object = serde_json::from_value(manifest).expect("an object");
            let created = api.create(&PostParams::default(), &object).await;
            created.unwrap_or_else(|error| panic!("{kind}: {error}"));
        }
        // The API server reads its policies again after about a second.
        tokio::time::sleep(Duration::from_secs(3)).await;
        MutatingPolicy { name }
    }

    async fn remove(self, run: &SimulatedRun) {
        for kind in ["MutatingAdmissionPolicyBinding", "MutatingAdmissionPolicy"] {
            let api: Api<DynamicObject> = Api::all_with(run.space.client(), &Self::api(kind));
            let removed = api.delete(&self.name, &DeleteParams::default()).await;
            removed.unwrap_or_else(|error| panic!("{kind}: {error}"));
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

async fn policy_that_suspends_jobs() {
    let run_on = begin("suspending").await;
    let patch = r#"[JSONPatch{op: "add", path: "/spec/suspend", value: true}]"#;
    let policy = MutatingPolicy::create(&run_on, "batch", "jobs", patch).await;
    run_on.make(run()).await;
    shown(&run_on, reason::QUEUE, "not by the operator").await;
    policy.remove(&run_on).await;
    let jobs = run_on.space.api::<Job>();
    for job in run_on.jobs().await {
        let resume = Patch::Merge(json!({"spec": {"suspend": false}}));
        let (name, params) = (job.name_any(), PatchParams::default());
        let resumed = jobs.patch(&name, &params, &resume).await;
        resumed.expect("a resumed Job");
    }
    completes(run_on).await;
}

async fn policy_that_changes_labels() {
    let run_on = begin("relabelling").await;
    let patch = r#"[JSONPatch{op: "replace", path: "/metadata/labels/scalequest.dev~1purpose", value: "other"}]"#;
    let policy = MutatingPolicy::create(&run_on, "batch", "jobs", patch).await;
    run_on.make(run()).await;
    shown(&run_on, reason::API_REQUEST_REJECTED, "other labels").await;
    policy.remove(&run_on).await;
    let jobs = run_on.space.api::<Job>();
    for job in run_on.jobs().await {
        let (name, params) = (job.name_any(), DeleteParams::background());
        let deleted = jobs.delete(&name, &params).await;
        deleted.expect("a deleted Job");
    }
    completes(run_on).await;
}

async fn policy_that_injects_a_container() {
    let run_on = begin("injecting").await;
    // As restricted as the pod security of the namespace wants it.
    let patch = r#"[JSONPatch{op: "add", path: "/spec/containers/-", value: Object.spec.containers{
        name: "mesh-proxy", image: "proxy",
        securityContext: Object.spec.containers.securityContext{
            allowPrivilegeEscalation: false,
            capabilities: Object.spec.containers.securityContext.capabilities{drop: ["ALL"]}}}}]"#;
    let policy = MutatingPolicy::create(&run_on, "", "pods", patch).await;
    run_on.make(run()).await;
    shown(&run_on, reason::PODS_WAITING, "mesh-proxy").await;
    policy.remove(&run_on).await;
    let pods = run_on.space.api::<Pod>();
    for pod in run_on.pods_at_work().await {
        let (name, params) = (pod.name_any(), DeleteParams::default());
        let deleted = pods.delete(&name, &params).await;
        deleted.expect("a deleted pod");
    }
    completes(run_on).await;
}

/// An object that limits a namespace.
fn quota(hard: Value) -> Value {
    json!({"metadata": {"name": "limit"}, "spec": {"hard": hard}})
}

fn is_counted(quota: &ResourceQuota) -> bool {
    let status = quota.status.as_ref();
    status.is_some_and(|status| status.used.is_some())
}

/// A run in a namespace with a quota from the start.
async fn quota_from_the_start(hard: Value, reason: &str, words: &str) {
    let run_on = begin("quota").await;
    run_on.space.create::<ResourceQuota>(quota(hard)).await;
    run_on.space.wait_for("limit", is_counted).await;
    run_on.make(run()).await;
    shown(&run_on, reason, words).await;
    assert!(run_on.jobs().await.is_empty(), "nothing was started");
    let quotas = run_on.space.api::<ResourceQuota>();
    let deleted = quotas.delete("limit", &DeleteParams::default()).await;
    deleted.expect("a deleted quota");
    completes(run_on).await;
}

/// A run whose namespace is limited while a worker is under way; the stage after it meets the limit.
async fn limit_in_mid_run(is_quota: bool, limit: Value, reason: &str, words: &str) {
    let (sender, mut paused) = mpsc::unbounded_channel();
    let fault_plan = FaultPlan {
        paused: Some(sender),
        ..FaultPlan::default()
    };
    let cluster = Cluster::shared();
    let run_on = SimulatedRun::begin(cluster, "limited", Treatment::default(), fault_plan).await;
    run_on.make(run()).await;
    let at_filter = |worker: &PausedWorker| worker.stage == Stage::Filter;
    let worker = run_on.worker(&mut paused, "at Filter", at_filter).await;
    match is_quota {
        true => drop(run_on.space.create::<ResourceQuota>(quota(limit)).await),
        false => {
            let limit = json!({"metadata": {"name": "limit"}, "spec": {"limits": [limit]}});
            drop(run_on.space.create::<LimitRange>(limit).await);
        }
    }
    // A quota counts once its status is there; a limit range is read from a cache.
    match is_quota {
        true => drop(run_on.space.wait_for("limit", is_counted).await),
        false => tokio::time::sleep(Duration::from_secs(3)).await,
    }
    drop(worker);
    drop(paused);
    shown(&run_on, reason, words).await;
    let parameters = DeleteParams::default();
    let gone = match is_quota {
        true => run_on
            .space
            .api::<ResourceQuota>()
            .delete("limit", &parameters)
            .await
            .is_ok(),
        false => run_on
            .space
            .api::<LimitRange>()
            .delete("limit", &parameters)
            .await
            .is_ok(),
    };
    assert!(gone);
    completes(run_on).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn admission_policies_are_named() {
    let _servers = SERVERS.read().await;
    reference().await;
    let tried = [
        tokio::spawn(policy_that_suspends_jobs()),
        tokio::spawn(policy_that_changes_labels()),
        tokio::spawn(policy_that_injects_a_container()),
    ];
    for ended in join_all(tried).await {
        ended.expect("the policy is named and the run completes");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn quotas_and_limit_ranges_are_named() {
    let _servers = SERVERS.read().await;
    reference().await;
    let exceeded = (reason::QUOTA, "exceeded quota");
    // One of containers would only fill in what they leave out.
    let max = json!({"type": "Pod", "max": {"cpu": "10m"}});
    let tried = [
        tokio::spawn(quota_from_the_start(
            json!({"pods": "0"}),
            exceeded.0,
            exceeded.1,
        )),
        tokio::spawn(quota_from_the_start(
            json!({"limits.memory": "1Gi"}),
            reason::INVALID,
            "must specify limits.memory",
        )),
        tokio::spawn(limit_in_mid_run(
            true,
            json!({"pods": "0"}),
            exceeded.0,
            exceeded.1,
        )),
        tokio::spawn(limit_in_mid_run(
            true,
            json!({"requests.cpu": "0"}),
            reason::PODS_WAITING,
            "must specify requests.cpu",
        )),
        tokio::spawn(limit_in_mid_run(
            true,
            json!({"count/jobs.batch": "0"}),
            exceeded.0,
            exceeded.1,
        )),
        tokio::spawn(limit_in_mid_run(
            false,
            max,
            reason::PODS_WAITING,
            "maximum cpu usage per Pod",
        )),
    ];
    for ended in join_all(tried).await {
        ended.expect("the limit is named and the run completes");
    }
}
