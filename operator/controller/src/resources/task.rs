//! How a task, or a spec to be inspected, gets into its pods: as an annotation that they mount as a file, which is no object of its own to make,
//! to lose and to clear away; what is large, in a ConfigMap that goes with the run.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, DownwardAPIVolumeFile, DownwardAPIVolumeSource, ObjectFieldSelector,
    Volume,
};

use crate::names::TASK_ANNOTATION;
use crate::settings::Settings;

/// Where a pod's task is; of a preflight, the spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskSource {
    /// This text, in the annotation [`TASK_ANNOTATION`] of the pod.
    Annotation(String),
    /// The ConfigMap of this name.
    ConfigMap(String),
}

impl TaskSource {
    /// Where pods have the task `text`; `name` is its ConfigMap's, where it needs one.
    pub fn of(text: String, settings: &Settings, name: impl FnOnce() -> String) -> TaskSource {
        if text.len() <= settings.task_in_pod_bytes {
            TaskSource::Annotation(text)
        } else {
            TaskSource::ConfigMap(name())
        }
    }

    /// The volume with the task as `file`.
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
