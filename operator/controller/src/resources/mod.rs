//! What is to be, as values: Jobs with their pods, ConfigMaps. Pure, and nothing here can fail.

pub mod accelerator;

pub mod job;

pub mod maps;

pub mod pod;

mod security;

pub mod server;

mod stores;

pub mod task;

mod volumes;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use scalequest_crds::v1alpha1::{PodSettings, Stage, SynthesisRun, SynthesisRunSpec};
use std::collections::BTreeMap;

use super::names::OPERATOR;

/// A run as far as what it owns must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
}

impl Owner {
    /// The owner that `run`, an object of the API server, is.
    pub fn of(run: &SynthesisRun) -> Owner {
        let metadata = run.metadata.clone();
        Owner {
            name: metadata.name.unwrap_or_default(),
            namespace: metadata.namespace.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
        }
    }

    /// Metadata of an object that the run owns.
    pub fn metadata(
        &self,
        name: String,
        labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
    ) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            owner_references: Some(vec![self.reference()]),
            ..ObjectMeta::default()
        }
    }

    fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: "scalequest.dev/v1alpha1".into(),
            kind: "SynthesisRun".into(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }
}

/// Settings of a stage's pods, where the spec has any.
pub fn pod_settings(spec: &SynthesisRunSpec, stage: Stage) -> Option<&PodSettings> {
    spec.pods.iter().find(|pods| pods.stages.contains(&stage))
}

/// The field manager, for requests.
pub const FIELD_MANAGER: &str = OPERATOR;

#[cfg(test)]
mod tests;
