//! How pods get their task, or the spec of a preflight: as an annotation mounted as a file, which needs no object of its own; a large task is a
//! ConfigMap that the run owns.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, DownwardAPIVolumeFile, DownwardAPIVolumeSource, ObjectFieldSelector,
    Volume,
};

use crate::names::TASK_ANNOTATION;
use crate::settings::Settings;

/// Where a pod's task is; or the spec of a preflight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskSource {
    /// This text, in the annotation [`TASK_ANNOTATION`] of the pod.
    Annotation(String),
    /// The ConfigMap of this name.
    ConfigMap(String),
}

impl TaskSource {
    /// Returns the source of the task `text`; `name`: that of its ConfigMap, if it needs one.
    pub fn of(text: String, settings: &Settings, name: impl FnOnce() -> String) -> TaskSource {
        if text.len() <= settings.task_in_pod_bytes {
            TaskSource::Annotation(text)
        } else {
            TaskSource::ConfigMap(name())
        }
    }

    /// Returns the volume with the task as `file`.
    pub fn volume(&self, volume: &str, file: &str) -> Volume {
        let mut made = Volume {
            name: volume.into(),
            ..Volume::default()
        };
        match self {
            TaskSource::Annotation(_) => {
                let file = DownwardAPIVolumeFile {
                    path: file.into(),
                    field_ref: Some(ObjectFieldSelector {
                        field_path: format!("metadata.annotations['{TASK_ANNOTATION}']"),
                        ..ObjectFieldSelector::default()
                    }),
                    ..DownwardAPIVolumeFile::default()
                };
                made.downward_api = Some(DownwardAPIVolumeSource {
                    items: Some(vec![file]),
                    ..DownwardAPIVolumeSource::default()
                });
            }
            TaskSource::ConfigMap(name) => {
                made.config_map = Some(ConfigMapVolumeSource {
                    name: name.clone(),
                    ..ConfigMapVolumeSource::default()
                });
            }
        }
        made
    }
}
