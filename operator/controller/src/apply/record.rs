//! Saves the record: created once, then updated with its `resourceVersion`. If two operators race, one gets a conflict and requeues.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use scalequest_crds::v1alpha1::SynthesisRun;

use super::ApplyError;
use super::error::record_rejection;
use crate::api_requests::status_code;
use crate::context::Context;
use crate::decide::RecordSave;
use crate::observe::expectations::Versions;
use crate::observe::version;
use crate::resources::config_maps::record_map;
use crate::resources::{FIELD_MANAGER, Owner};
use scalequest_core::status::conditions::Degradation;

/// Saves a record.
pub(super) async fn save(
    context: &Context,
    run: &SynthesisRun,
    save: &RecordSave,
    rejections: &mut Vec<Degradation>,
) -> Result<(), ApplyError> {
    let owner = Owner::of(run);
    let map = record_map(&owner, &save.record, save.version.clone());
    let name = map.name_any();
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &owner.namespace);
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PostParams::default()
    };
    let (verb, saved) = match save.version {
        Some(_) => (
            "update",
            context
                .timed("update", "configmaps", api.replace(&name, &params, &map))
                .await,
        ),
        None => (
            "create",
            context
                .timed("create", "configmaps", api.create(&params, &map))
                .await,
        ),
    };
    match saved {
        Ok(saved) => {
            let maps = version(saved.resource_version().as_deref());
            let written = Versions {
                maps,
                ..Versions::default()
            };
            context.caches.expectations.expect(&owner.uid, written);
            Ok(())
        }
        // Changed, created or deleted since it was read: the decision came from a stale cache.
        Err(error) if matches!(status_code(&error), 404 | 409) => Err(ApplyError::Conflict(name)),
        Err(error) => record_rejection(verb, "ConfigMap", &name, error, rejections),
    }
}
