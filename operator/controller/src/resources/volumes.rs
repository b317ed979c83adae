//! Volumes of a pod: its task, room for temporary files, certificates, and of the run's claims and images those that it reads or writes.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, ImageVolumeSource,
    PersistentVolumeClaimVolumeSource, Volume, VolumeMount,
};
use scalequest_crds::v1alpha1::SynthesisRunSpec;
use scalequest_crds::v1alpha1::model::IMAGES;
use scalequest_crds::v1alpha1::storage_location::CLAIMS;
use serde_json::Value;
use std::collections::BTreeSet;

use super::stores::{CA_FOLDER, ca_config_map};
use super::task::TaskSource;

/// Where the task, or the spec, is mounted.
pub const TASK_FOLDER: &str = "/etc/scalequest/task";

/// Room for temporary files: the only place that a worker can write to beside its claims.
pub const TEMPORARY: &str = "/tmp";

/// The volumes and mounts of a pod that has its task from `task` as `file` and uses `locations`.
pub fn volumes(
    spec: &SynthesisRunSpec,
    (task, file): (&TaskSource, &str),
    locations: &BTreeSet<String>,
) -> (Vec<Volume>, Vec<VolumeMount>) {
    let mut both = vec![
        (task.volume("task", file), mount("task", TASK_FOLDER, true)),
        (
            empty("tmp", EmptyDirVolumeSource::default()),
            mount("tmp", TEMPORARY, false),
        ),
    ];
    if let Some(name) = ca_config_map(spec) {
        both.push((config_map("ca", name), mount("ca", CA_FOLDER, true)));
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
    let claims: BTreeSet<&str> = locations
        .iter()
        .filter_map(|location| below(location, CLAIMS))
        .collect();
    for (number, claim) in claims.into_iter().enumerate() {
        let name = format!("claim-{number}");
        let volume = Volume {
            name: name.clone(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim.into(),
                read_only: None,
            }),
            ..Volume::default()
        };
        let read_only = !written.contains(claim);
        both.push((
            volume,
            mount(&name, &format!("{CLAIMS}/{claim}"), read_only),
        ));
    }
    let images: BTreeSet<&str> = locations
        .iter()
        .filter_map(|location| below(location, IMAGES))
        .collect();
    for (number, model) in images.into_iter().enumerate() {
        let reference = spec.models.iter().find(|known| known.name == model);
        let reference = reference
            .and_then(|model| Some(model.source.as_ref()?.image.as_ref()?.reference.clone()));
        let name = format!("image-{number}");
        let volume = Volume {
            name: name.clone(),
            image: Some(ImageVolumeSource {
                reference,
                pull_policy: None,
            }),
            ..Volume::default()
        };
        both.push((volume, mount(&name, &format!("{IMAGES}/{model}"), true)));
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

/// `name` of `<folder>/name/…`.
fn below<'a>(location: &'a str, folder: &str) -> Option<&'a str> {
    let rest = location.strip_prefix(folder)?.strip_prefix('/')?;
    rest.split('/').next().filter(|name| !name.is_empty())
}

fn config_map(volume: &str, name: &str) -> Volume {
    Volume {
        name: volume.into(),
        config_map: Some(ConfigMapVolumeSource {
            name: name.into(),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// A volume that begins empty and goes with its pod.
pub(super) fn empty(name: &str, source: EmptyDirVolumeSource) -> Volume {
    Volume {
        name: name.into(),
        empty_dir: Some(source),
        ..Volume::default()
    }
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
