//! The ConfigMaps of tasks that are too large for an annotation.

use k8s_openapi::api::core::v1::ConfigMap;

use super::ReconcileInput;
use crate::names::JobIdentity;
use crate::resources::Common;
use crate::resources::config_maps::task_map;
use crate::resources::job::source;
use crate::resources::volumes::TaskSource;

/// Returns the ConfigMap with the task of `identity` if its pods need one and it does not exist.
pub(super) fn missing_map(
    input: &ReconcileInput<'_>,
    common: Common<'_>,
    identity: &JobIdentity,
    text: String,
) -> Option<ConfigMap> {
    match source(common, identity, text.clone()) {
        TaskSource::Annotation(_) => None,
        TaskSource::ConfigMap(name) => {
            let mut maps = input.owned.maps.iter();
            let is_there = maps.any(|map| map.name == name && !map.is_terminating);
            (!is_there).then(|| task_map(common.owner, identity, text))
        }
    }
}
