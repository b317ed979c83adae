//! Makes, resizes and deletes. What is there already was made by an attempt whose answer was lost; what is gone already is gone.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Api, ResourceExt};
use scalequest_crds::v1alpha1::SynthesisRun;
use serde_json::json;

use super::ApplyError;
use super::error::refused;
use crate::api_requests::status_code;
use crate::context::Context;
use crate::decide::{Creation, Resize, Unwanted};
use crate::observe::expected::Versions;
use crate::observe::version;
use crate::resources::FIELD_MANAGER;
use scalequest_core::status::conditions::Trouble;

/// Makes a Job and its task.
pub(super) async fn create(
    context: &Context,
    run: &SynthesisRun,
    creation: &Creation,
    refusals: &mut Vec<Trouble>,
) -> Result<(), ApplyError> {
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PostParams::default()
    };
    let namespace = run.namespace().unwrap_or_default();
    if let Some(task) = &creation.task {
        let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &namespace);
        let made = context
            .timed("create", "configmaps", api.create(&params, task))
            .await;
        match made {
            Ok(made) => raise(context, run, 0, version(made.resource_version().as_deref())),
            // Its content follows from its name, so the one that is there will do.
            Err(error) if status_code(&error) == 409 => {}
            Err(error) => return refused("create", "ConfigMap", &task.name_any(), error, refusals),
        }
    }
    let Some(job) = &creation.job else {
        return Ok(());
    };
    let api: Api<Job> = Api::namespaced(context.client.clone(), &namespace);
    let name = job.name_any();
    match context
        .timed("create", "jobs", api.create(&params, job))
        .await
    {
        Ok(made) => {
            tracing::info!(run = %run.name_any(), namespace, job = name, "job created");
            raise(context, run, version(made.resource_version().as_deref()), 0);
            Ok(())
        }
        Err(error) if status_code(&error) == 409 => Err(ApplyError::Behind(format!("Job {name}"))),
        Err(error) => refused("create", "Job", &name, error, refusals),
    }
}

/// Changes the number of a Job's pods.
pub(super) async fn resize(
    context: &Context,
    run: &SynthesisRun,
    resize: &Resize,
    refusals: &mut Vec<Trouble>,
) -> Result<(), ApplyError> {
    let namespace = run.namespace().unwrap_or_default();
    let api: Api<Job> = Api::namespaced(context.client.clone(), &namespace);
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({
        "metadata": {"uid": resize.uid},
        "spec": {"parallelism": resize.parallelism},
    }));
    match context
        .timed("patch", "jobs", api.patch(&resize.name, &params, &patch))
        .await
    {
        Ok(patched) => {
            raise(
                context,
                run,
                version(patched.resource_version().as_deref()),
                0,
            );
            Ok(())
        }
        Err(error) if matches!(status_code(&error), 404 | 409) => {
            Err(ApplyError::Behind(format!("Job {}", resize.name)))
        }
        Err(error) => refused("resize", "Job", &resize.name, error, refusals),
    }
}

/// Deletes one very Job. It stays visible until its pods are gone, so that its successor does not begin beside them.
pub(super) async fn delete(
    context: &Context,
    run: &SynthesisRun,
    unwanted: &Unwanted,
    refusals: &mut Vec<Trouble>,
) -> Result<(), ApplyError> {
    let Unwanted { name, uid } = unwanted;
    let namespace = run.namespace().unwrap_or_default();
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.clone()),
            resource_version: None,
        }),
        propagation_policy: Some(PropagationPolicy::Foreground),
        ..DeleteParams::default()
    };
    let api: Api<Job> = Api::namespaced(context.client.clone(), &namespace);
    match context
        .timed("delete", "jobs", api.delete(name, &params))
        .await
    {
        Ok(answer) => {
            let left = answer.left().and_then(|job| job.resource_version());
            raise(context, run, version(left.as_deref()), 0);
            Ok(())
        }
        Err(error) if status_code(&error) == 404 => Ok(()),
        // Another object by now, or changed in this moment.
        Err(error) if status_code(&error) == 409 => Err(ApplyError::Behind(name.clone())),
        Err(error) => refused("delete", "Job", name, error, refusals),
    }
}

/// Deletes the run, whose time after its end is over.
pub(super) async fn remove_run(context: &Context, run: &SynthesisRun) -> Result<(), ApplyError> {
    let (name, namespace) = (run.name_any(), run.namespace().unwrap_or_default());
    let api: Api<SynthesisRun> = Api::namespaced(context.client.clone(), &namespace);
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: run.uid(),
            resource_version: run.resource_version(),
        }),
        ..DeleteParams::background()
    };
    match context
        .timed("delete", "synthesisruns", api.delete(&name, &params))
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if status_code(&error) == 404 => Ok(()),
        Err(error) if status_code(&error) == 409 => Err(ApplyError::Behind(name)),
        Err(error) => Err(ApplyError::of("delete", &name, error)),
    }
}

fn raise(context: &Context, run: &SynthesisRun, jobs: u64, maps: u64) {
    let uid = run.uid().unwrap_or_default();
    let written = Versions { run: 0, jobs, maps };
    context.observed.expected.raise(&uid, written);
}
