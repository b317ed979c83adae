//! The chart on a real API server: clean for helm, every object of every values file taken by the server, every pod as the restricted
//! profile asks, installed and upgraded by helm. `make test-cluster` runs these tests.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use scalequest_tests::kubernetes::product::{chart, chart_values, generated_is_current};
use scalequest_tests::kubernetes::programs::folder;
use scalequest_tests::kubernetes::{Cluster, Options};
use serde_json::{Value, json};

/// A stand-in for the Prometheus operator's kind, so that the server knows it.
const SERVICE_MONITOR: &str = r#"{
  "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
  "metadata": {"name": "servicemonitors.monitoring.coreos.com", "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"}},
  "spec": {
    "group": "monitoring.coreos.com", "scope": "Namespaced",
    "names": {"kind": "ServiceMonitor", "plural": "servicemonitors"},
    "versions": [{"name": "v1", "served": true, "storage": true,
      "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]
  }
}"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn generated_chart_files_are_current() {
    generated_is_current().exits_with(0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn helm_lint_and_server_accept_chart() {
    let cluster = Cluster::shared();
    cluster.install_crd();
    cluster
        .kubectl_with(&["apply", "--server-side", "-f", "-"], SERVICE_MONITOR)
        .exits_with(0);
    cluster
        .kubectl(&[
            "wait",
            "--for=condition=Established",
            "crd/servicemonitors.monitoring.coreos.com",
        ])
        .exits_with(0);
    for name in ["rendered", "research", "teaching"] {
        cluster.restricted_namespace(name);
    }
    let files = chart_values();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let values = file.display().to_string();
        cluster
            .helm(&["lint", "--strict", &chart(), "--values", &values])
            .exits_with(0);
        let rendered = cluster
            .helm(&[
                "template",
                "release",
                &chart(),
                "--namespace",
                "rendered",
                "--values",
                &values,
            ])
            .exits_with(0);
        // A warning is how the server says that a pod would be refused in a restricted namespace, or a field is unknown.
        let taken = cluster
            .kubectl_with(
                &[
                    "apply",
                    "--server-side",
                    "--dry-run=server",
                    "--validate=strict",
                    "--force-conflicts",
                    "-f",
                    "-",
                ],
                &rendered.stdout,
            )
            .exits_with(0);
        assert!(
            !taken.stderr.contains("Warning"),
            "{values}: {}",
            taken.stderr
        );
    }
}

/// What kube-score asks for and the chart does not do, each with the reason.
const NOT_DONE: [(&str, &str); 5] = [
    (
        "container-image-pull-policy",
        "images are tagged by release: pulled where they are missing; a value changes it",
    ),
    (
        "container-ephemeral-storage-request-and-limit",
        "the root is read-only and nothing is written; a limit would evict the operator for its own log",
    ),
    (
        "deployment-has-host-podantiaffinity",
        "topologySpreadConstraints spread the copies, and do not forbid two on one node where there is one",
    ),
    (
        "deployment-replicas",
        "one of the values files asks for one copy on purpose",
    ),
    (
        "networkpolicy-targets-pod",
        "the workers' pods are made by the operator, not by the chart",
    ),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn kube_score_finds_only_known_exceptions() {
    let cluster = Cluster::shared();
    let program = folder().join("../../tools/bin/kube-score");
    for file in chart_values() {
        let values = file.display().to_string();
        let all = ["template", "release", &chart(), "--values", &values];
        let rendered = cluster.helm(&all).exits_with(0);
        let mut command = Command::new(&program);
        // A limit on processor time slows the operator down and protects nobody: requests do.
        command.args([
            "score",
            "-",
            "--kubernetes-version=v1.33",
            "--output-format=ci",
            "--ignore-container-cpu-limit",
        ]);
        for (name, _reason) in NOT_DONE {
            command.args(["--ignore-test", name]);
        }
        let said = fed(command, &rendered.stdout);
        let faults = said
            .lines()
            .filter(|line| !line.starts_with("[OK]") && !line.starts_with("[SKIPPED]"));
        let faults: Vec<&str> = faults.collect();
        assert!(said.contains("[OK]"), "{}: {said}", program.display());
        assert!(faults.is_empty(), "{values}: {faults:#?}");
    }
}

/// What a program says to this input.
fn fed(mut command: Command, input: &str) -> String {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let child = command.stderr(Stdio::inherit()).spawn();
    let mut child = child.expect("kube-score is installed: run `.ci/tools.sh kube-score`");
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(input.as_bytes()).expect("it reads");
    drop(pipe);
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn invalid_values_are_rejected_with_advice() {
    let cluster = Cluster::shared();
    for (set, words) in [
        ("replicaCount=2", "replicaCount"),
        ("replicas=many", "replicas"),
        (
            "operator.leaderElection=false",
            "operator.leaderElection can be false only with replicas: 1",
        ),
        (
            "metrics.service=false,metrics.serviceMonitor.enabled=true",
            "needs metrics.service",
        ),
        (
            "networkPolicy.workers=true",
            "networkPolicy.workers needs watchNamespaces",
        ),
        (
            "serviceAccount.create=false",
            "serviceAccount.name names the account to use",
        ),
        ("image.digest=latest", "digest"),
    ] {
        let said = cluster.helm(&["template", "release", &chart(), "--set", set]);
        assert_eq!(said.code, Some(1), "{set}: {}", said.stdout);
        assert!(said.stderr.contains(words), "{set}: {}", said.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn crd_is_upgraded_with_the_chart() {
    // Of its own, since a chart that brings the CRD must be the only one.
    let cluster = Cluster::start(Options::default());
    let older = cluster.directory().join("older-chart");
    older_chart(&older);
    let values = json!({"replicas": 0, "fullnameOverride": "upgraded"});
    let older = older.display().to_string();
    cluster
        .install_chart_of(&older, "upgraded", "chart-upgraded", &values)
        .exits_with(0);
    cluster.await_crd();
    let crds: Api<CustomResourceDefinition> = Api::all(cluster.client().await);
    let name = "synthesisruns.scalequest.dev";
    let columns = |crd: CustomResourceDefinition| {
        let columns = crd.spec.versions[0].additional_printer_columns.clone();
        columns.unwrap_or_default().len()
    };
    let before = columns(crds.get(name).await.expect("the CRD"));
    cluster
        .install_chart("upgraded", "chart-upgraded", &values)
        .exits_with(0);
    let after = columns(crds.get(name).await.expect("the CRD"));
    assert_eq!(after, before + 1, "the upgrade brought the new column");

    cluster
        .helm(&["uninstall", "upgraded", "--namespace", "chart-upgraded"])
        .exits_with(0);
    let kept = crds.get(name).await.expect("the CRD is kept");
    assert!(kept.metadata.deletion_timestamp.is_none());
}

/// The chart as it may have been before: its CRD lacks a column.
fn older_chart(folder: &Path) {
    let copied = Command::new("cp")
        .arg("-r")
        .arg(chart())
        .arg(folder)
        .status();
    assert!(copied.is_ok_and(|status| status.success()));
    let file = folder.join("files/synthesisruns.scalequest.dev.yaml");
    let text = std::fs::read_to_string(&file).expect("the CRD");
    let mut crd: Value = serde_saphyr::from_str(&text).expect("YAML");
    let columns = crd.pointer_mut("/spec/versions/0/additionalPrinterColumns");
    let columns = columns.and_then(Value::as_array_mut).expect("columns");
    columns.remove(0);
    // JSON is YAML.
    std::fs::write(&file, crd.to_string()).expect("a written file");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn operator_account_has_minimal_rights() {
    let cluster = Cluster::shared();
    cluster.install_crd();
    let values = json!({"replicas": 0, "fullnameOverride": "rights", "crds": {"enabled": false}});
    cluster
        .install_chart("rights", "chart-rights", &values)
        .exits_with(0);
    let can = |verb: &str, what: &str, namespace: &str| {
        let account = "--as=system:serviceaccount:chart-rights:rights";
        let what = what.split(' ');
        let question = ["auth", "can-i", verb].into_iter().chain(what);
        let question = question.chain([account, "--namespace", namespace]);
        let said = cluster.kubectl(&question.collect::<Vec<_>>());
        said.stdout.trim() == "yes"
    };
    for (verb, what) in [
        ("watch", "synthesisruns.scalequest.dev"),
        ("create", "jobs.batch"),
        ("create", "configmaps"),
        ("list", "pods"),
        // In dry runs: whether the cluster would admit the pods of a run.
        ("create", "pods"),
        ("create", "events.events.k8s.io"),
    ] {
        assert!(can(verb, what, "default"), "{verb} {what}");
    }
    for (verb, what) in [
        ("get", "secrets"),
        ("list", "secrets"),
        ("delete", "pods"),
        ("create", "pods --subresource=exec"),
        ("create", "serviceaccounts --subresource=token"),
        ("update", "synthesisruns.scalequest.dev"),
        ("create", "leases.coordination.k8s.io"),
        ("list", "nodes"),
        ("create", "clusterroles.rbac.authorization.k8s.io"),
        ("get", "customresourcedefinitions.apiextensions.k8s.io"),
    ] {
        assert!(!can(verb, what, "default"), "{verb} {what}");
    }
    assert!(can(
        "patch",
        "leases.coordination.k8s.io/rights",
        "chart-rights"
    ));
    assert!(!can(
        "patch",
        "leases.coordination.k8s.io/another",
        "chart-rights"
    ));
    let roles = cluster
        .kubectl(&[
            "get",
            "clusterroles,roles",
            "-A",
            "-l",
            "app.kubernetes.io/part-of=scalequest",
            "-o",
            "json",
        ])
        .exits_with(0);
    let roles: Value = serde_json::from_str(&roles.stdout).expect("JSON");
    assert!(!roles["items"].as_array().expect("roles").is_empty());
    assert!(!roles["items"].to_string().contains("\"*\""), "no wildcard");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make test-cluster"]
async fn watched_namespaces_limit_the_rights() {
    let cluster = Cluster::shared();
    cluster.install_crd();
    for name in ["watched-one", "watched-two"] {
        cluster.restricted_namespace(name);
    }
    let values = json!({"replicas": 0, "fullnameOverride": "narrow", "crds": {"enabled": false}, "watchNamespaces": ["watched-one", "watched-two"]});
    cluster
        .install_chart("narrow", "chart-narrow", &values)
        .exits_with(0);
    let can = |namespace: &str| {
        let account = "--as=system:serviceaccount:chart-narrow:narrow";
        let said = cluster.kubectl(&[
            "auth",
            "can-i",
            "create",
            "jobs.batch",
            account,
            "--namespace",
            namespace,
        ]);
        said.stdout.trim() == "yes"
    };
    assert!(can("watched-one") && can("watched-two"));
    assert!(!can("default") && !can("chart-narrow"));
}
