//! A ConfigMap: a task, or the run record.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;

use super::cache::Kept;
use super::is_controlled;
use crate::names::{Work, record_name};
use crate::resources::maps::RECORD;

/// A ConfigMap of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenMap {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resource version.
    pub version: String,
    /// Whether it is being deleted.
    pub is_leaving: bool,
    /// The work to which the task belongs; none of a record.
    pub work: Option<Work>,
    /// The text of a record.
    pub record: Option<String>,
}

impl Kept<ConfigMap> for SeenMap {
    fn keep(map: &ConfigMap, uid: &str) -> Option<Self> {
        if !is_controlled(map, uid) {
            return None;
        }
        let name = map.name_any();
        let run = map.labels().get(crate::names::RUN)?;
        let is_record = name == record_name(run, uid);
        let text = map.data.as_ref().and_then(|data| data.get(RECORD));
        Some(SeenMap {
            uid: map.uid()?,
            version: map.resource_version().unwrap_or_default(),
            is_leaving: map.metadata.deletion_timestamp.is_some(),
            work: Work::read(map.labels(), map.annotations()),
            record: is_record.then(|| text.cloned().unwrap_or_default()),
            name,
        })
    }
}
