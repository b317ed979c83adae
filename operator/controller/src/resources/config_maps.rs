//! ConfigMaps: the task of a stage, the spec of a preflight, the run record.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::{SynthesisRun, SynthesisRunSpec};

use super::Owner;
use crate::names::{JobIdentity, KEY, record_name, run_labels};
use scalequest_core::record::{RECORD_FILE, RunRecord};

/// Key of a stage task.
pub const TASK: &str = "task.json";

/// Key of the spec of a preflight.
pub const SPEC: &str = "spec.json";

/// Returns the file of the task, or of the spec of a preflight, in a pod of `identity`.
pub fn task_file(identity: &JobIdentity) -> &'static str {
    identity.stage().map_or(SPEC, |_| TASK)
}

/// Returns the text of a stage's task.
pub fn task_text(task: &StageTask) -> String {
    serde_json::to_string(task).unwrap_or_default()
}

/// Returns the text of the spec of a preflight, with its defaults.
pub fn spec_text(name: &str, spec: &SynthesisRunSpec) -> String {
    let resolved = SynthesisRun::new(name, spec.clone());
    serde_json::to_string(&resolved).unwrap_or_default()
}

/// Returns the immutable ConfigMap with the task of a stage, or with the spec of a preflight.
pub fn task_map(owner: &Owner, identity: &JobIdentity, text: String) -> ConfigMap {
    let annotations = BTreeMap::from([(KEY.into(), identity.key.clone())]);
    let labels = identity.labels(&owner.name, &owner.uid);
    let name = identity.task_name(&owner.name, &owner.uid);
    ConfigMap {
        metadata: owner.metadata(name, labels, annotations),
        data: Some(BTreeMap::from([(task_file(identity).into(), text)])),
        immutable: Some(true),
        ..ConfigMap::default()
    }
}

/// Returns the ConfigMap of the record. `version`: the resource version that it replaces, `None` to create it.
pub fn record_map(owner: &Owner, record: &RunRecord, version: Option<String>) -> ConfigMap {
    let labels = run_labels(&owner.name, &owner.uid);
    let name = record_name(&owner.name, &owner.uid);
    let mut metadata = owner.metadata(name, labels, BTreeMap::new());
    metadata.resource_version = version;
    ConfigMap {
        metadata,
        data: Some(BTreeMap::from([(RECORD_FILE.into(), record.to_json())])),
        ..ConfigMap::default()
    }
}
