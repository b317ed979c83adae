//! The product on a cluster: its CRD and its chart, installed as a user does.

use std::process::Command;
use std::sync::OnceLock;

use scalequest_crds::v1alpha1::SynthesisRun;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::image::{self, OPERATOR, WORKER};
use crate::harness::Finished;
use crate::harness::binaries::repository;

/// The namespace of the operator.
pub const SYSTEM: &str = "scalequest-system";

impl Cluster {
    /// Applies the CRD as it is generated and waits until the API server serves it.
    pub fn install_crd(&self) {
        let path = repository().join("crds/synthesisruns.scalequest.dev.yaml");
        let path = path.display().to_string();
        let field_manager = "--field-manager=tests";
        self.kubectl(&[
            "apply",
            "--server-side",
            "--force-conflicts",
            field_manager,
            "-f",
            &path,
        ])
        .exits_with(0);
        self.await_crd();
    }

    /// Waits until runs can be made.
    pub fn await_crd(&self) {
        let name = "crd/synthesisruns.scalequest.dev";
        self.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", name])
            .exits_with(0);
    }

    /// Installs or upgrades a release of the chart with these values on top of its own, the images being those of this build.
    pub fn install_chart(&self, release: &str, namespace: &str, values: &Value) -> Finished {
        self.install_chart_of(&chart(), release, namespace, values)
    }

    /// The same with the chart in another folder.
    pub fn install_chart_of(
        &self,
        chart: &str,
        release: &str,
        namespace: &str,
        values: &Value,
    ) -> Finished {
        let mut all = json!({
            "image": tagged(OPERATOR),
            "worker": {"image": tagged(WORKER), "pullPolicy": "Never"},
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        });
        all["image"]["pullPolicy"] = "Never".into();
        merge(&mut all, values);
        let file = self
            .directory()
            .join(format!("{release}-{namespace}-values.json"));
        std::fs::write(&file, all.to_string()).expect("a written file");
        let file = file.display().to_string();
        self.helm(&[
            "upgrade",
            "--install",
            release,
            chart,
            "--namespace",
            namespace,
            "--create-namespace",
            "--values",
            &file,
        ])
    }

    /// Installs the operator once for all tests of this program, two copies of it on a real node, and waits until they are ready.
    pub fn install_operator(&self) {
        static INSTALLED: OnceLock<()> = OnceLock::new();
        INSTALLED.get_or_init(|| {
            self.real_nodes(1, image::product());
            self.restricted_namespace(SYSTEM);
            self.install_chart(
                "scalequest",
                SYSTEM,
                &json!({"fullnameOverride": "scalequest"}),
            )
            .exits_with(0);
            self.await_crd();
            let rollout = [
                "rollout",
                "status",
                "deployment/scalequest",
                "--timeout=120s",
            ];
            let said = self.kubectl(&[&["--namespace", SYSTEM], &rollout[..]].concat());
            if said.code != Some(0) {
                let pods = self.kubectl(&["--namespace", SYSTEM, "describe", "pods"]);
                let logs = self.kubectl(&["--namespace", SYSTEM, "logs", "deployment/scalequest"]);
                panic!(
                    "{}{}\n{}{}",
                    said.stderr, pods.stdout, logs.stdout, logs.stderr
                );
            }
        });
    }

    /// Makes a namespace that stays, in which the `restricted` profile is enforced.
    pub fn restricted_namespace(&self, name: &str) {
        let manifest = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        });
        self.kubectl_with(
            &["apply", "--server-side", "-f", "-"],
            &manifest.to_string(),
        )
        .exits_with(0);
    }

    /// A kubeconfig of a service account, with the rights that it has and no others.
    pub fn kubeconfig_of(&self, namespace: &str, account: &str) -> std::path::PathBuf {
        let own = self.own("can speak for a service account");
        let duration = "--duration=6h";
        let token = self
            .kubectl(&[
                "--namespace",
                namespace,
                "create",
                "token",
                account,
                duration,
            ])
            .exits_with(0);
        let path = self
            .directory()
            .join(format!("{namespace}-{account}.kubeconfig"));
        let text = own
            .credentials
            .kubeconfig_text(own.slot(), token.stdout.trim());
        std::fs::write(&path, text).expect("a written file");
        path
    }
}

/// The chart's folder.
pub fn chart() -> String {
    repository()
        .join("charts/scalequest-operator")
        .display()
        .to_string()
}

/// The chart's values files, which cover every switch.
pub fn chart_values() -> Vec<std::path::PathBuf> {
    let folder = repository().join("charts/scalequest-operator/ci");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the chart's values files")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
}

/// Whether a committed file that is generated is current, with what was said.
pub fn generated_is_current() -> Finished {
    Command::new("python3")
        .arg(repository().join("charts/generate.py"))
        .arg("--check")
        .output()
        .expect("python3 starts")
        .into()
}

/// The kind of a run, for requests.
pub fn run_resource() -> kube::api::ApiResource {
    kube::api::ApiResource::erase::<SynthesisRun>(&())
}

fn tagged(reference: &str) -> Value {
    let (repository, tag) = reference.split_once(':').expect("a tagged image");
    json!({"repository": repository, "tag": tag})
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => from.iter().for_each(|(key, value)| {
            merge(into.entry(key).or_insert(Value::Null), value);
        }),
        (into, from) => *into = from.clone(),
    }
}
