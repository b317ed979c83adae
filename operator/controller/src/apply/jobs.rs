//! Creates, resizes and deletes Jobs. All operations are idempotent: `AlreadyExists` on create means that an earlier attempt succeeded, and
//! `NotFound` on delete is success.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Api, ResourceExt};
use scalequest_crds::v1alpha1::SynthesisRun;
use serde_json::json;

use super::ApplyError;
use super::error::record_rejection;
use crate::api_requests::status_code;
use crate::context::Context;
use crate::decide::{JobCreation, JobDeletion, JobResize};
use crate::observe::expectations::Versions;
use crate::observe::version;
use crate::resources::FIELD_MANAGER;
use scalequest_core::status::conditions::Degradation;

/// Creates a Job, and the ConfigMap of its task if it needs one.
pub(super) async fn create(
    context: &Context,
    run: &SynthesisRun,
    creation: &JobCreation,
    rejections: &mut Vec<Degradation>,
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
            Ok(made) => {
                expect_versions(context, run, 0, version(made.resource_version().as_deref()))
            }
            // Its name is a hash of its content, so the existing one is equal.
            Err(error) if status_code(&error) == 409 => {}
            Err(error) => {
                return record_rejection(
                    "create",
                    "ConfigMap",
                    &task.name_any(),
                    error,
                    rejections,
                );
            }
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
            expect_versions(context, run, version(made.resource_version().as_deref()), 0);
            Ok(())
        }
        Err(error) if status_code(&error) == 409 => {
            Err(ApplyError::Conflict(format!("Job {name}")))
        }
        Err(error) => record_rejection("create", "Job", &name, error, rejections),
    }
}

/// Changes the number of a Job's pods.
pub(super) async fn resize(
    context: &Context,
    run: &SynthesisRun,
    resize: &JobResize,
    rejections: &mut Vec<Degradation>,
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
            expect_versions(
                context,
                run,
                version(patched.resource_version().as_deref()),
                0,
            );
            Ok(())
        }
        Err(error) if matches!(status_code(&error), 404 | 409) => {
            Err(ApplyError::Conflict(format!("Job {}", resize.name)))
        }
        Err(error) => record_rejection("resize", "Job", &resize.name, error, rejections),
    }
}

/// Deletes a Job by uid. With foreground propagation it exists until its pods are gone, so that its successor does not run beside them.
pub(super) async fn delete(
    context: &Context,
    run: &SynthesisRun,
    deletion: &JobDeletion,
    rejections: &mut Vec<Degradation>,
) -> Result<(), ApplyError> {
    let JobDeletion { name, uid } = deletion;
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
            expect_versions(context, run, version(left.as_deref()), 0);
            Ok(())
        }
        Err(error) if status_code(&error) == 404 => Ok(()),
        // Another object has its name, or it has just changed.
        Err(error) if status_code(&error) == 409 => Err(ApplyError::Conflict(name.clone())),
        Err(error) => record_rejection("delete", "Job", name, error, rejections),
    }
}

/// Deletes a run whose time to live is over.
pub(super) async fn delete_run(context: &Context, run: &SynthesisRun) -> Result<(), ApplyError> {
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
        Err(error) if status_code(&error) == 409 => Err(ApplyError::Conflict(name)),
        Err(error) => Err(ApplyError::of("delete", &name, error)),
    }
}

/// Records the resource versions that the caches must have observed before the next reconcile.
fn expect_versions(context: &Context, run: &SynthesisRun, jobs: u64, maps: u64) {
    let uid = run.uid().unwrap_or_default();
    let written = Versions { run: 0, jobs, maps };
    context.caches.expectations.expect(&uid, written);
}
