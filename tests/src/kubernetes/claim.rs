//! Claims of a namespace, filled and looked into from outside.

use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};

use super::namespace::Namespace;
use crate::harness::TinyRun;
use crate::harness::tiny_run::tiny_models;

/// The claim that holds models and questions.
pub const DATA: &str = "data";

/// The claim that holds workspace and dataset.
pub const STORE: &str = "store";

impl Namespace {
    /// Makes a claim, waits until it is bound, and gives the directory behind it.
    pub async fn claim(&self, name: &str) -> PathBuf {
        self.cluster().own("lets its claims be looked into");
        self.create::<PersistentVolumeClaim>(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
        }))
        .await;
        let bound = |claim: &PersistentVolumeClaim| {
            let phase = claim
                .status
                .as_ref()
                .and_then(|status| status.phase.as_deref());
            phase == Some("Bound")
        };
        self.wait_for(name, bound).await;
        let volumes = self.cluster().directory().join("volumes");
        volumes.join(self.name()).join(name)
    }

    /// Makes two claims, one with all that `run` refers to, one empty, and gives the run's manifest on them and the directory of the second.
    pub async fn on_claims(&self, run: &TinyRun) -> (Value, PathBuf) {
        let data = self.claim(DATA).await;
        let store = self.claim(STORE).await;
        let models = tiny_models();
        for from in [&models.chat, &models.reward] {
            copy(Path::new(from), &data.join(file_name(from)));
        }
        copy(Path::new(&models.benchmark), &data.join("benchmark.jsonl"));
        std::fs::write(data.join("seeds.jsonl"), run.seed_lines()).expect("a written file");
        let mut manifest: Value = serde_json::from_str(&run.text()).expect("JSON");
        on_claims(&mut manifest);
        (manifest, store)
    }
}

/// Puts claims in the place of paths.
fn on_claims(manifest: &mut Value) {
    let claim = |name: &str, path: &str| json!({"claim": {"name": name, "subPath": path}});
    let spec = &mut manifest["spec"];
    for model in spec["models"].as_array_mut().into_iter().flatten() {
        let Some(path) = model.pointer("/source/path") else {
            continue;
        };
        let name = file_name(Path::new(path.as_str().unwrap_or_default()));
        model["source"] = claim(DATA, &name);
    }
    let moved = |file: &mut Value, path: &str| {
        let Value::Object(members) = file else { return };
        members.shift_remove("path");
        members.insert("claim".into(), claim(DATA, path)["claim"].clone());
    };
    moved(&mut spec["seedQuestions"][0], "seeds.jsonl");
    if let Some(benchmark) = spec.pointer_mut("/filters/contamination/benchmarks/0") {
        moved(benchmark, "benchmark.jsonl");
    }
    spec["workspace"] = claim(STORE, "workspace");
    spec["output"] = claim(STORE, "dataset");
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Copies a file or directory, readable for everybody.
fn copy(from: &Path, to: &Path) {
    for (program, arguments) in [("cp", ["-rL"]), ("chmod", ["-R"])] {
        let mut command = Command::new(program);
        command.args(arguments);
        match program {
            "cp" => command.arg(from),
            _ => command.arg("a+rX"),
        };
        let status = command.arg(to).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "{} cannot be copied",
            from.display()
        );
    }
}
