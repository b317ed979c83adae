//! Volumes of a pod: its task, room for temporary files, certificates, and of the run's claims and images those that it reads or writes.
//! A task, or the spec of a preflight, is an annotation mounted as a file, which needs no object of its own; a large task is a ConfigMap that the
//! run owns.

use k8s_openapi::api::core::v1::{Volume, VolumeMount};
use scalequest_crds::v1alpha1::SynthesisRunSpec;
use scalequest_crds::v1alpha1::model::IMAGES;
use scalequest_crds::v1alpha1::storage_location::CLAIMS;
use serde_json::{Value, json};
use std::collections::BTreeSet;

use super::object;
use super::stores::{CA_FOLDER, ca_config_map};
use crate::names::TASK_ANNOTATION;

/// Where the task, or the spec, is mounted.
pub const TASK_FOLDER: &str = "/etc/scalequest/task";

/// Room for temporary files: the only place that a worker can write to beside its claims.
pub const TEMPORARY: &str = "/tmp";

/// Where a pod's task is; or the spec of a preflight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskSource {
    /// This text, in the annotation [`TASK_ANNOTATION`] of the pod.
    Annotation(String),
    /// The ConfigMap of this name.
    ConfigMap(String),
}

/// The volumes and mounts of a pod that has its task from `task` as `file` and uses `locations`.
pub fn volumes(
    spec: &SynthesisRunSpec,
    (task, file): (&TaskSource, &str),
    locations: &BTreeSet<String>,
) -> (Vec<Volume>, Vec<VolumeMount>) {
    let task = match task {
        TaskSource::Annotation(_) => {
            let annotation = format!("metadata.annotations['{TASK_ANNOTATION}']");
            let file = json!({"path": file, "fieldRef": {"fieldPath": annotation}});
            json!({"name": "task", "downwardAPI": {"items": [file]}})
        }
        TaskSource::ConfigMap(name) => json!({"name": "task", "configMap": {"name": name}}),
    };
    let temporary = json!({"name": "tmp", "emptyDir": {}});
    let mut both = vec![
        (object(task), mount("task", TASK_FOLDER, true)),
        (object(temporary), mount("tmp", TEMPORARY, false)),
    ];
    if let Some(name) = ca_config_map(spec) {
        let certificates = json!({"name": "ca", "configMap": {"name": name}});
        both.push((object(certificates), mount("ca", CA_FOLDER, true)));
    }
    // A pod that uses no fetched model has no business in the cache, though it may read another model in the same claim.
    let cache = spec.model_cache.as_ref().map(|cache| &cache.claim);
    let cache = cache.filter(|claim| locations.contains(&claim.location()));
    let written: BTreeSet<&str> = [&spec.workspace, &spec.output]
        .into_iter()
        .filter_map(|place| place.claim.as_ref())
        .chain(cache)
        .map(|claim| claim.name.as_str())
        .collect();
    for (number, claim) in below(locations, CLAIMS).into_iter().enumerate() {
        let name = format!("claim-{number}");
        let volume = json!({"name": name, "persistentVolumeClaim": {"claimName": claim}});
        let path = format!("{CLAIMS}/{claim}");
        let read_only = !written.contains(claim);
        both.push((object(volume), mount(&name, &path, read_only)));
    }
    for (number, model) in below(locations, IMAGES).into_iter().enumerate() {
        let known = spec.models.iter().find(|known| known.name == model);
        let image = known.and_then(|model| model.source.as_ref()?.image.as_ref());
        let reference = image.map(|image| image.reference.as_str());
        let name = format!("image-{number}");
        let volume = json!({"name": name, "image": {"reference": reference.unwrap_or_default()}});
        let path = format!("{IMAGES}/{model}");
        both.push((object(volume), mount(&name, &path, true)));
    }
    both.into_iter().unzip()
}

/// Every location that a task's parameters name: the members `location`, as a text or with a `path` below.
pub fn locations(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(value, &mut found);
    found
}

fn collect(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if name == "location" {
                    let text = member.as_str().or_else(|| member["path"].as_str());
                    found.extend(text.map(str::to_owned));
                } else {
                    collect(member, found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

/// Every `name` of the locations `<folder>/name/…`.
fn below<'a>(locations: &'a BTreeSet<String>, folder: &str) -> BTreeSet<&'a str> {
    let name = |location: &'a String| {
        let rest = location.strip_prefix(folder)?.strip_prefix('/')?;
        rest.split('/').next().filter(|name| !name.is_empty())
    };
    locations.iter().filter_map(name).collect()
}

/// A volume at a path.
pub(super) fn mount(volume: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.into(),
        mount_path: path.into(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}
