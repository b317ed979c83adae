//! Decides the next actions of a reconcile from the observed objects: the record to save, the Jobs to delete, create and resize, the status
//! to patch. Pure: no client, no clock. The plan comes from [`scalequest_core::plan`]; this module maps it to Jobs.

pub mod stage_jobs;

mod accept;

mod usage;

mod advance;

mod blocked;

mod progress;

mod record_results;

mod task_maps;

mod obsolete_jobs;

pub mod waits;

pub mod undecodable;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::v1alpha1::conditions::reason;
use scalequest_crds::v1alpha1::{SynthesisRun, SynthesisRunStatus};

use super::names::RETRY;
use super::observe::OwnedObjects;
use super::observe::job::ObservedJob;
use super::resources::dry_run::DryRunPod;
use super::settings::Settings;
use scalequest_core::plan::Plan;
use scalequest_core::record::{RecordError, RetryToken, RunRecord};
use scalequest_core::status::conditions::{Acceptance, ConditionInputs, Degradation, Wait};
use scalequest_core::status::{StageProgress, StatusInput, before_acceptance, status};
use scalequest_core::validate::{Environment, ValidRun, validate};
use waits::Waits;

/// Requeue interval of a run without events.
pub const RESYNC_INTERVAL: Duration = Duration::from_secs(600);

/// Input of a reconcile: the run and its observed objects.
#[derive(Clone, Copy, Debug)]
pub struct ReconcileInput<'a> {
    /// The object, as the API server has it.
    pub run: &'a SynthesisRun,
    /// The objects that it owns.
    pub owned: &'a OwnedObjects,
    /// The operator's settings.
    pub settings: &'a Settings,
    /// Now, in milliseconds since 1970.
    pub now_millis: i64,
}

impl ReconcileInput<'_> {
    /// Returns what ends a block or a permanent failure when it changes.
    fn retry_token(&self, record: &RunRecord) -> RetryToken {
        RetryToken::of(&record.spec, self.run.annotations().get(RETRY))
    }
}

/// Actions of a reconcile, applied in the order of the fields.
#[derive(Clone, Debug)]
pub struct Actions {
    /// The save of the record, before all other actions.
    pub save: Option<VersionedRecord>,
    /// Obsolete Jobs to delete, with their pods.
    pub delete: Vec<Arc<ObservedJob>>,
    /// Pods of which a dry run must admit each before anything is created.
    pub dry_run: Vec<DryRunPod>,
    /// Jobs to create, each with its task.
    pub create: Vec<JobCreation>,
    /// Jobs whose number of pods changes, each with its new parallelism.
    pub resize: Vec<(Arc<ObservedJob>, i32)>,
    /// The update of the status, after all other actions.
    pub status: StatusUpdate,
    /// Whether to delete the run: `ttlSecondsAfterFinished` is over.
    pub delete_run: bool,
    /// After which time to requeue the run without an event.
    pub requeue_after: Duration,
    /// Uids of Jobs whose pods the cache may drop: the saved record holds all that they reported.
    pub collectable: BTreeSet<String>,
}

/// A record, as its ConfigMap holds it or is to hold it.
#[derive(Clone, Debug)]
pub struct VersionedRecord {
    /// The record.
    pub record: RunRecord,
    /// The resource version of the ConfigMap that holds it or is replaced, `None` if there is none yet.
    pub version: Option<String>,
}

/// A Job to create.
#[derive(Clone, Debug)]
pub struct JobCreation {
    /// The ConfigMap of its task, if it needs one that does not exist.
    pub task: Option<ConfigMap>,
    /// The Job, `None` if it exists and only its task is missing.
    pub job: Option<Job>,
}

/// An update of the status.
#[derive(Clone, Debug)]
pub enum StatusUpdate {
    /// No change.
    Unchanged,
    /// A run that is not accepted.
    NotAccepted {
        /// The errors of an invalid spec, `None` before they are known.
        errors: Option<Vec<FieldError>>,
        /// What needs attention.
        degradations: Vec<Degradation>,
        /// What the pods of its preflight wait for.
        waiting: Option<Wait>,
    },
    /// A run whose record cannot be read or executed.
    Unreadable(Degradation),
    /// An accepted run.
    Accepted(Box<AcceptedRun>),
}

/// An accepted run, from which the status is computed.
#[derive(Clone, Debug)]
pub struct AcceptedRun {
    /// The run with the accepted spec.
    pub run: ValidRun,
    /// Its record.
    pub record: RunRecord,
    /// The latest plan.
    pub plan: Plan,
    /// Progress of its stages.
    pub progress: Vec<StageProgress>,
    /// What needs attention.
    pub degradations: Vec<Degradation>,
    /// What its pods wait for.
    pub waiting: Option<Wait>,
}

impl Actions {
    fn only(status: StatusUpdate) -> Actions {
        Actions {
            save: None,
            delete: Vec::new(),
            dry_run: Vec::new(),
            create: Vec::new(),
            resize: Vec::new(),
            status,
            delete_run: false,
            requeue_after: RESYNC_INTERVAL,
            collectable: BTreeSet::new(),
        }
    }

    fn requeue_in(&mut self, millis: i64) {
        let wait = Duration::from_millis(u64::try_from(millis.max(500)).unwrap_or(500));
        self.requeue_after = self.requeue_after.min(wait);
    }

    /// Whether none of a wait is left; requeues the run at its end otherwise.
    fn is_due(&mut self, left_millis: i64) -> bool {
        if left_millis > 0 {
            self.requeue_in(left_millis);
        }
        left_millis <= 0
    }
}

impl StatusUpdate {
    /// A run that the dry run of its pods refuses with `errors`; none of them if only a quota is used up.
    pub fn refused(errors: Vec<FieldError>) -> StatusUpdate {
        StatusUpdate::NotAccepted {
            errors: Some(errors).filter(|errors| !errors.is_empty()),
            degradations: Vec::new(),
            waiting: None,
        }
    }

    /// Whether the run is idle: finished, suspended, or waiting for an edit.
    pub fn is_idle(&self) -> bool {
        match self {
            StatusUpdate::Unchanged => false,
            StatusUpdate::NotAccepted { errors, .. } => errors.is_some(),
            StatusUpdate::Unreadable(_) => true,
            StatusUpdate::Accepted(accepted) => {
                accepted.plan.finished.is_some() || accepted.plan.suspended.is_some()
            }
        }
    }

    /// Returns the new status, or `None` if it does not change. `rejected`: what follows from requests that the API server rejected since.
    pub fn status(
        &self,
        run: &SynthesisRun,
        rejected: &Waits,
        now_millis: i64,
    ) -> Option<SynthesisRunStatus> {
        let before = run.status.clone().unwrap_or_default();
        let generation = run.metadata.generation;
        let with_more =
            |degradations: &[Degradation]| [&rejected.degradations, degradations].concat();
        let wait = |of_pods: &Option<Wait>| rejected.wait.clone().or_else(|| of_pods.clone());
        let (acceptance, degradations, waiting) = match self {
            StatusUpdate::Unchanged => return None,
            StatusUpdate::Accepted(accepted) => {
                return Some(status(&StatusInput {
                    run: &accepted.run,
                    record: &accepted.record,
                    plan: &accepted.plan,
                    progress: &accepted.progress,
                    degradations: &with_more(&accepted.degradations),
                    waiting: wait(&accepted.waiting).as_ref(),
                    previous: &before.conditions,
                    generation,
                    now_millis,
                }));
            }
            StatusUpdate::Unreadable(degradation) => {
                let degradations = with_more(std::slice::from_ref(degradation));
                (Acceptance::Accepted, degradations, None)
            }
            StatusUpdate::NotAccepted {
                errors,
                degradations,
                waiting,
            } => {
                let acceptance = errors.as_deref();
                let acceptance = acceptance.map_or(Acceptance::Validating, Acceptance::Invalid);
                (acceptance, with_more(degradations), wait(waiting))
            }
        };
        let inputs = ConditionInputs {
            acceptance,
            suspended: run.spec.suspend,
            plan: None,
            degradations: &degradations,
            waiting: waiting.as_ref(),
        };
        let after = before_acceptance(&inputs, &before.conditions, generation, now_millis);
        match self {
            // The last known progress stays in the status.
            StatusUpdate::Unreadable(_) => Some(SynthesisRunStatus {
                conditions: after.conditions,
                observed_generation: generation,
                phase: after.phase,
                ..before
            }),
            _ => Some(after),
        }
    }
}

/// Decides the next actions for the run.
pub fn decide(input: &ReconcileInput<'_>) -> Actions {
    let live = validate(input.run, Environment::Cluster);
    let Some((map, text)) = input.owned.record() else {
        return accept::accept(input, live);
    };
    match RunRecord::from_json(text) {
        Ok(record) => {
            let saved = VersionedRecord {
                record: record.clone(),
                version: Some(map.version.clone()),
            };
            advance::advance(input, record, Some(&saved), live)
        }
        Err(error) => {
            let advice = match error {
                RecordError::OtherVersion(_) => "",
                _ => {
                    "; restore a readable record, or delete the ConfigMap to start again from what the workspace holds"
                }
            };
            Actions::only(StatusUpdate::Unreadable(Degradation::new(
                reason::RECORD_UNREADABLE,
                format!("ConfigMap {}: {error}{advice}", map.name),
            )))
        }
    }
}
