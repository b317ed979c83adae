//! Writes the record and the Jobs of a run. All operations are idempotent: `AlreadyExists` on create means that an earlier attempt succeeded, and
//! `NotFound` on delete is success. A record is created once, then updated with its `resourceVersion`: if two operators race, one gets a conflict
//! and requeues.

use std::collections::BTreeMap;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::v1alpha1::SynthesisRun;
use serde_json::json;

use super::ApplyError;
use crate::context::Context;
use crate::decide::waits::is_quota;
use crate::decide::{JobCreation, VersionedRecord};
use crate::metrics::status_code;
use crate::names::{ATTEMPT, GENERATOR, KEY, MANAGED_BY_LABEL, PURPOSE, RUN, RUN_UID, STAGE, WAVE};
use crate::observe::expectations::Versions;
use crate::observe::job::ObservedJob;
use crate::observe::version;
use crate::resources::config_maps::record_map;
use crate::resources::dry_run::DryRunPod;
use crate::resources::{FIELD_MANAGER, Owner};

/// Labels and annotations by which the watches recognize Jobs and pods.
const IDENTIFYING: [&str; 9] = [
    MANAGED_BY_LABEL,
    RUN,
    RUN_UID,
    PURPOSE,
    STAGE,
    GENERATOR,
    WAVE,
    ATTEMPT,
    KEY,
];

/// The writes of a reconcile.
pub(super) struct Writer<'a> {
    /// State shared by all reconciles.
    pub context: &'a Context,
    /// The run.
    pub owner: Owner,
    /// Messages of rejected requests, which conditions show; the remaining actions are applied.
    pub rejections: Vec<String>,
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
            let exists = matches!(&created, Err(error) if status_code(error) == 409);
            let stored = match (&created, exists) {
                (Ok(created), _) => Some(created.clone()),
                (_, true) => self.job(&name).await?,
                _ => None,
            };
            if let Some(stored) = stored.filter(|stored| !is_recognized(job, stored)) {
                self.rejections.push(changed_labels(&stored));
                return Ok(());
            }
            if self.written("create", &name, created)? {
                let (run, namespace) = (&self.owner.name, &self.owner.namespace);
                tracing::info!(%run, namespace, job = name, "job created");
            }
        }
        Ok(())
    }

    /// Returns the Job called `name`, whatever its labels.
    async fn job(&self, name: &str) -> Result<Option<Job>, ApplyError> {
        let params = ListParams::default().fields(&format!("metadata.name={name}"));
        let api = self.api::<Job>();
        let request = api.list(&params);
        let listed = self.context.metrics.timed("list", "jobs", request).await;
        let listed = listed.map_err(|error| ApplyError::of("list", name, error))?;
        Ok(listed.items.into_iter().next())
    }

    /// Asks the API server whether it would admit `pods`, and creates none. Returns an error for each that it refuses for good; one for which a
    /// quota has no room now is a rejection.
    pub async fn dry_run(&mut self, pods: &[DryRunPod]) -> Result<Vec<FieldError>, ApplyError> {
        let params = PostParams {
            dry_run: true,
            ..post_params()
        };
        let mut errors: Vec<FieldError> = Vec::new();
        for DryRunPod { field, pod } in pods {
            let (api, name) = (self.api::<Pod>(), pod.name_any());
            let request = api.create(&params, pod);
            let metrics = &self.context.metrics;
            match metrics.timed("create", "pods", request).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if is_rejection(status.code, &status.message) => {
                    // Without the right to it nothing is known.
                    if status.message.contains("cannot create resource \"pods\"") {
                        return Ok(errors);
                    }
                    let message = status.message.replace(&format!(" \"{name}\""), "");
                    match is_quota(&message) {
                        true => self.rejections.push(format!("{field}: {message}")),
                        false => errors.push(refused_pod(field, &message)),
                    }
                }
                // Only a pod of this name could conflict, and there is none.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(ApplyError::of("dry-run", &name, error)),
            }
        }
        errors.dedup_by(|next, first| next.message == first.message);
        Ok(errors)
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
            Err(kube::Error::Api(status)) if is_rejection(status.code, &status.message) => {
                self.rejections.push(format!(
                    "the API server rejected the request to {verb} {kind} {name}: {}",
                    status.message
                ));
                Ok(false)
            }
            Err(error) => Err(ApplyError::of(verb, name, error)),
        }
    }
}

/// Whether the API server rejects a request, so that it would reject it again: a 5xx is its own failure, except that of an admission webhook.
fn is_rejection(code: u16, message: &str) -> bool {
    match code {
        404 | 409 | 429 => false,
        500.. => message.contains("failed calling webhook"),
        _ => true,
    }
}

/// Returns the error of a pod that the API server refuses, at the field that names what it refuses.
fn refused_pod(field: &str, message: &str) -> FieldError {
    let field = match message {
        _ if message.contains("service account") => "spec.serviceAccountName",
        _ if message.contains("PriorityClass") => "spec.priorityClassName",
        _ => field,
    };
    FieldError {
        field: field.into(),
        message: format!("the API server refuses such pods: {message}"),
    }
}

/// Whether the watches recognize a stored Job and its pods as those of the Job that was sent.
fn is_recognized(sent: &Job, stored: &Job) -> bool {
    let of = |metadata: &ObjectMeta| {
        let (labels, annotations) = (metadata.labels.iter(), metadata.annotations.iter());
        let all = labels.chain(annotations).flatten();
        let identifies = |(name, _): &(&String, &String)| IDENTIFYING.contains(&name.as_str());
        let all = all.filter(identifies);
        let all = all.map(|(name, value)| (name.clone(), value.clone()));
        all.collect::<BTreeMap<_, _>>()
    };
    let of_pods = |job: &Job| {
        let template = &job.spec.as_ref()?.template;
        template.metadata.as_ref().map(of)
    };
    of(&sent.metadata) == of(&stored.metadata) && of_pods(sent) == of_pods(stored)
}

fn changed_labels(job: &Job) -> String {
    format!(
        "Job {} was stored with other labels or annotations than it was sent with, so that it cannot be followed: exclude the run's Jobs from the admission policy that changes them, then delete the Job",
        job.name_any()
    )
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
