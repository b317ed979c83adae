//! ConfigMaps: the task of a stage, the spec for an inspection, the run record.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use scalequest_crds::run::SynthesisRun;
use scalequest_crds::task::StageTask;

use super::Owner;
use crate::cluster::names::{KEY, Work, record_name, run_labels};
use crate::record::RunRecord;
use crate::validate::ValidRun;

/// Key of a stage task.
pub const TASK: &str = "task.json";

/// Key of a spec to be inspected.
pub const SPEC: &str = "spec.json";

/// Key of a run record.
pub const RECORD: &str = "record.json";

/// The task of the stage to which `work` belongs: never changed once made.
pub fn task_map(owner: &Owner, work: &Work, task: &StageTask) -> ConfigMap {
    fixed(
        owner,
        work,
        TASK,
        serde_json::to_string(task).unwrap_or_default(),
    )
}

/// The spec, its defaults filled in, for an inspection.
pub fn spec_map(owner: &Owner, work: &Work, run: &ValidRun) -> ConfigMap {
    let resolved = SynthesisRun::new(run.name(), run.spec().clone());
    fixed(
        owner,
        work,
        SPEC,
        serde_json::to_string(&resolved).unwrap_or_default(),
    )
}

fn fixed(owner: &Owner, work: &Work, key: &str, text: String) -> ConfigMap {
    let annotations = BTreeMap::from([(KEY.into(), work.key.clone())]);
    let labels = work.labels(&owner.name, &owner.uid);
    ConfigMap {
        metadata: owner.metadata(work.task_name(&owner.name, &owner.uid), labels, annotations),
        data: Some(BTreeMap::from([(key.into(), text)])),
        immutable: Some(true),
        ..ConfigMap::default()
    }
}

/// The run record. `version`: the resource version it is to replace; none to make it.
pub fn record_map(owner: &Owner, record: &RunRecord, version: Option<String>) -> ConfigMap {
    let labels = run_labels(&owner.name, &owner.uid);
    let mut metadata = owner.metadata(
        record_name(&owner.name, &owner.uid),
        labels,
        BTreeMap::new(),
    );
    metadata.resource_version = version;
    ConfigMap {
        metadata,
        data: Some(BTreeMap::from([(RECORD.into(), record.to_json())])),
        ..ConfigMap::default()
    }
}
