//! A ConfigMap: a task, or the run record.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;

use super::cache::Reduce;
use super::is_controlled;
use crate::names::{RUN, record_name};
use scalequest_core::record::RECORD_FILE;

/// A ConfigMap of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedConfigMap {
    /// Its name.
    pub name: String,
    /// Its resource version.
    pub version: String,
    /// Whether it is being deleted.
    pub is_terminating: bool,
    /// The text of the record, if it is one.
    pub record: Option<String>,
}

impl Reduce<ConfigMap> for ObservedConfigMap {
    fn reduce(map: &ConfigMap, uid: &str) -> Option<Self> {
        if !is_controlled(map, uid) {
            return None;
        }
        let name = map.name_any();
        let run = map.labels().get(RUN)?;
        let is_record = name == record_name(run, uid);
        let text = map.data.as_ref().and_then(|data| data.get(RECORD_FILE));
        Some(ObservedConfigMap {
            version: map.resource_version().unwrap_or_default(),
            is_terminating: map.metadata.deletion_timestamp.is_some(),
            record: is_record.then(|| text.cloned().unwrap_or_default()),
            name,
        })
    }
}
