//! Builds the desired objects as values: Jobs with their pod templates, ConfigMaps. Pure and infallible.

pub mod accelerator;

pub mod job;

pub mod config_maps;

pub mod pod;

pub mod dry_run;

mod security;

pub mod server;

mod stores;

pub mod volumes;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use scalequest_crds::v1alpha1::{
    API_VERSION, KIND, PodSettings, Stage, SynthesisRun, SynthesisRunSpec,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

use super::names::OPERATOR;
use super::settings::Settings;
use scalequest_core::record::WorkerIdentity;

/// The owner of a run's objects.
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
    /// Creates the owner from a run of the API server.
    pub fn of(run: &SynthesisRun) -> Owner {
        let metadata = run.metadata.clone();
        Owner {
            name: metadata.name.unwrap_or_default(),
            namespace: metadata.namespace.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
        }
    }

    /// Returns the metadata of an owned object.
    pub fn metadata(
        &self,
        name: String,
        labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
    ) -> ObjectMeta {
        let owner = OwnerReference {
            api_version: API_VERSION.into(),
            kind: KIND.into(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        };
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        }
    }
}

/// Parameters that all Jobs of a run share.
#[derive(Clone, Copy, Debug)]
pub struct Common<'a> {
    /// The run that owns them.
    pub owner: &'a Owner,
    /// Its resolved spec.
    pub spec: &'a SynthesisRunSpec,
    /// The pinned worker.
    pub worker: &'a WorkerIdentity,
    /// Settings of the controller.
    pub settings: &'a Settings,
}

/// Returns the Kubernetes object that `literal` is. In a debug build, and so in tests, a member that the object does not have is a panic too.
///
/// # Panics
/// The literal is no such object: a bug.
fn object<K: DeserializeOwned + Serialize>(literal: Value) -> K {
    let object: K = serde_json::from_value(literal.clone()).expect("a Kubernetes object");
    debug_assert_eq!(serde_json::to_value(&object).ok(), Some(literal));
    object
}

/// Returns the settings of a stage's pods, if the spec has any.
pub fn pod_settings(spec: &SynthesisRunSpec, stage: Stage) -> Option<&PodSettings> {
    spec.pods.iter().find(|pods| pods.stages.contains(&stage))
}

/// The field manager, for requests.
pub const FIELD_MANAGER: &str = OPERATOR;

#[cfg(test)]
mod tests;
