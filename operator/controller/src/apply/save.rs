//! Saves the record: made once, and replaced only in the version that was read, so that of two operators one finds that it is late.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use scalequest_crds::v1alpha1::SynthesisRun;

use super::ApplyError;
use super::error::refused;
use crate::api_requests::status_code;
use crate::context::Context;
use crate::decide::Save;
use crate::observe::expected::Versions;
use crate::observe::version;
use crate::resources::maps::record_map;
use crate::resources::{FIELD_MANAGER, Owner};
use scalequest_core::status::conditions::Trouble;

/// Saves a record.
pub(super) async fn save(
    context: &Context,
    run: &SynthesisRun,
    save: &Save,
    refusals: &mut Vec<Trouble>,
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
            context.observed.expected.raise(&owner.uid, written);
            Ok(())
        }
        // Changed by somebody else, made already, or gone: what was decided was decided from something old.
        Err(error) if matches!(status_code(&error), 404 | 409) => Err(ApplyError::Behind(name)),
        Err(error) => refused(verb, "ConfigMap", &name, error, refusals),
    }
}
