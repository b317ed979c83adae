//! Writes the record and the Jobs of a run. All operations are idempotent: `AlreadyExists` on create means that an earlier attempt succeeded, and
//! `NotFound` on delete is success. A record is created once, then updated with its `resourceVersion`: if two operators race, one gets a conflict
//! and requeues.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use scalequest_crds::v1alpha1::SynthesisRun;
use scalequest_crds::v1alpha1::conditions::reason;
use serde_json::json;

use super::ApplyError;
use crate::context::Context;
use crate::decide::{JobCreation, VersionedRecord};
use crate::metrics::status_code;
use crate::observe::expectations::Versions;
use crate::observe::job::ObservedJob;
use crate::observe::version;
use crate::resources::config_maps::record_map;
use crate::resources::{FIELD_MANAGER, Owner};
use scalequest_core::status::conditions::Degradation;

/// The writes of a reconcile.
pub(super) struct Writer<'a> {
    /// State shared by all reconciles.
    pub context: &'a Context,
    /// The run.
    pub owner: Owner,
    /// Rejected requests, which the condition Degraded shows; the remaining actions are applied.
    pub rejections: Vec<Degradation>,
}

impl Writer<'_> {
    /// Saves a record.
    pub async fn save(&mut self, save: &VersionedRecord) -> Result<(), ApplyError> {
        let map = record_map(&self.owner, &save.record, save.version.clone());
        let (api, params, name) = (self.api::<ConfigMap>(), post_params(), map.name_any());
        let verb = save.version.as_ref().map_or("create", |_| "update");
        let request = async {
            match save.version {
                Some(_) => api.replace(&name, &params, &map).await,
                None => api.create(&params, &map).await,
            }
        };
        let metrics = &self.context.metrics;
        let saved = metrics.timed(verb, "configmaps", request).await;
        self.written(verb, &name, saved)?;
        Ok(())
    }

    /// Creates a Job, and the ConfigMap of its task if it needs one.
    pub async fn create(&mut self, creation: &JobCreation) -> Result<(), ApplyError> {
        let (metrics, params) = (&self.context.metrics, post_params());
        if let Some(task) = &creation.task {
            let api = self.api::<ConfigMap>();
            let request = api.create(&params, task);
            let created = metrics.timed("create", "configmaps", request).await;
            // If its name exists, so does an equal object: the name is a hash of the content.
            let exists = matches!(&created, Err(error) if status_code(error) == 409);
            if !exists && !self.written("create", &task.name_any(), created)? {
                return Ok(());
            }
        }
        if let Some(job) = &creation.job {
            let (api, name) = (self.api::<Job>(), job.name_any());
            let request = api.create(&params, job);
            let created = metrics.timed("create", "jobs", request).await;
            if self.written("create", &name, created)? {
                let (run, namespace) = (&self.owner.name, &self.owner.namespace);
                tracing::info!(%run, namespace, job = name, "job created");
            }
        }
        Ok(())
    }

    /// Changes the number of a Job's pods.
    pub async fn resize(&mut self, job: &ObservedJob, parallelism: i32) -> Result<(), ApplyError> {
        let params = PatchParams::apply(FIELD_MANAGER);
        let patch = Patch::Merge(json!({
            "metadata": {"uid": job.uid},
            "spec": {"parallelism": parallelism},
        }));
        let api = self.api::<Job>();
        let request = api.patch(&job.name, &params, &patch);
        let patched = self.context.metrics.timed("patch", "jobs", request).await;
        self.written("resize", &job.name, patched)?;
        Ok(())
    }

    /// Deletes a Job by uid. With foreground propagation it exists until its pods are gone, so that its successor does not run beside them.
    pub async fn delete(&mut self, job: &ObservedJob) -> Result<(), ApplyError> {
        let params = DeleteParams::foreground().preconditions(Preconditions {
            uid: Some(job.uid.clone()),
            resource_version: None,
        });
        let api = self.api::<Job>();
        let request = api.delete(&job.name, &params);
        match self.context.metrics.timed("delete", "jobs", request).await {
            Err(error) if status_code(&error) == 404 => {}
            deleted => {
                let deleted = deleted.map(|answer| answer.left().unwrap_or_default());
                self.written("delete", &job.name, deleted)?;
            }
        }
        Ok(())
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.context.client.clone(), &self.owner.namespace)
    }

    /// Expects the caches to observe a written object before the next reconcile. Returns `false` if the API server rejected the request.
    ///
    /// # Errors
    /// The object has changed since it was read, or the API server did not answer.
    fn written<K>(
        &mut self,
        verb: &'static str,
        name: &str,
        answer: kube::Result<K>,
    ) -> Result<bool, ApplyError>
    where
        K: Resource<DynamicType = ()>,
    {
        let kind = K::kind(&());
        match answer {
            Ok(object) => {
                let written = version(object.meta().resource_version.as_deref());
                let (jobs, maps) = match &*kind {
                    "Job" => (written, 0),
                    _ => (0, written),
                };
                let written = Versions { run: 0, jobs, maps };
                let expectations = &self.context.caches.expectations;
                expectations.expect(&self.owner.uid, written);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if !matches!(status.code, 404 | 409 | 429) => {
                let message = format!(
                    "the API server rejected the request to {verb} {kind} {name}: {}",
                    status.message
                );
                let rejection = Degradation::new(reason::API_REQUEST_REJECTED, message);
                self.rejections.push(rejection);
                Ok(false)
            }
            Err(error) => Err(ApplyError::of(verb, name, error)),
        }
    }
}

fn post_params() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PostParams::default()
    }
}

/// Deletes a run whose time to live is over.
pub(super) async fn delete_run(context: &Context, run: &SynthesisRun) -> Result<(), ApplyError> {
    let (name, namespace) = (run.name_any(), run.namespace().unwrap_or_default());
    let api: Api<SynthesisRun> = Api::namespaced(context.client.clone(), &namespace);
    let params = DeleteParams::background().preconditions(Preconditions {
        uid: run.uid(),
        resource_version: run.resource_version(),
    });
    let (metrics, request) = (&context.metrics, api.delete(&name, &params));
    match metrics.timed("delete", "synthesisruns", request).await {
        Err(error) if status_code(&error) != 404 => Err(ApplyError::of("delete", &name, error)),
        _ => Ok(()),
    }
}
