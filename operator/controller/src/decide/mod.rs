//! What follows from what is there: which record is to be saved, which Jobs are to be made, resized and deleted, what is to be shown. Pure:
//! no client, no clock. The plan itself is [`scalequest_core::plan`]'s; here is how Jobs serve it.

pub mod stage;

mod accept;

mod bill;

mod go_on;

mod persist;

mod progress;

mod take_up;

mod tidy;

mod troubles;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::v1alpha1::conditions::reason;
use scalequest_crds::v1alpha1::{SynthesisRun, SynthesisRunStatus};

use self::persist::Saved;
use super::names::record_name;
use super::observe::Belongings;
use super::observe::map::SeenMap;
use super::resources::Owner;
use super::settings::Settings;
use scalequest_core::plan::Plan;
use scalequest_core::record::{RecordError, RunRecord};
use scalequest_core::status::conditions::{Acceptance, Situation, Trouble};
use scalequest_core::status::{StageProgress, View, before_acceptance, status};
use scalequest_core::validate::{Environment, ValidRun, validate};

/// Time after which a run is looked at though nothing happened.
const BACKSTOP: Duration = Duration::from_secs(600);

/// What is known of a run.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The object, as the API server has it.
    pub run: &'a SynthesisRun,
    /// What belongs to it.
    pub belongings: &'a Belongings,
    /// The operator's settings.
    pub settings: &'a Settings,
    /// Now, in milliseconds since 1970.
    pub now_millis: i64,
}

/// What is to be done, in the order of the fields.
#[derive(Clone, Debug)]
pub struct Step {
    /// The record, to be saved before anything else happens.
    pub save: Option<Save>,
    /// Jobs that are in the way.
    pub delete: Vec<Unwanted>,
    /// Jobs to be made, each with its task.
    pub create: Vec<Creation>,
    /// Jobs whose number of pods changes.
    pub resize: Vec<Resize>,
    /// What is to be shown, once the rest is done.
    pub shown: Shown,
    /// Whether the run's time after its end is over: it is to be deleted.
    pub remove_run: bool,
    /// When to look again though nothing happens.
    pub look_again: Duration,
    /// Uids of Jobs whose pods the cache may drop: the saved record holds all that they reported.
    pub collectable: BTreeSet<String>,
}

/// A record to be saved.
#[derive(Clone, Debug)]
pub struct Save {
    /// The record.
    pub record: RunRecord,
    /// The version that it replaces; none to make it.
    pub version: Option<String>,
}

/// A Job to be made.
#[derive(Clone, Debug)]
pub struct Creation {
    /// Its task, where that needs an object of its own which is not there (any more).
    pub task: Option<ConfigMap>,
    /// The Job; none where it is there and only its task is gone.
    pub job: Option<Job>,
}

/// A Job to be deleted, with its pods: this very one, not another of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwanted {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// A Job whose number of pods changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resize {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Pods at once.
    pub parallelism: i32,
}

/// What is to be shown.
#[derive(Clone, Debug)]
pub enum Shown {
    /// What is shown already.
    AsBefore,
    /// A run that is not accepted.
    NotAccepted {
        /// Why, where it was refused.
        refused: Option<Vec<FieldError>>,
        /// What needs a person's eye.
        troubles: Vec<Trouble>,
    },
    /// A run whose record cannot be carried out.
    Unreadable(Trouble),
    /// A run on record.
    Accepted(Box<AcceptedRun>),
}

/// What the status of a run on record is drawn from.
#[derive(Clone, Debug)]
pub struct AcceptedRun {
    /// The run as it is on record.
    pub run: ValidRun,
    /// Its record.
    pub record: RunRecord,
    /// The latest plan.
    pub plan: Plan,
    /// How far its stages are.
    pub progress: Vec<StageProgress>,
    /// What needs a person's eye.
    pub troubles: Vec<Trouble>,
}

impl Step {
    fn only(shown: Shown) -> Step {
        Step {
            save: None,
            delete: Vec::new(),
            create: Vec::new(),
            resize: Vec::new(),
            shown,
            remove_run: false,
            look_again: BACKSTOP,
            collectable: BTreeSet::new(),
        }
    }

    fn wants_a_look_in(&mut self, millis: i64) {
        let wait = Duration::from_millis(u64::try_from(millis.max(500)).unwrap_or(500));
        self.look_again = self.look_again.min(wait);
    }
}

impl Shown {
    /// Whether nothing goes on in the run that moves by itself: it is over, held, or waits for a person.
    pub fn is_at_rest(&self) -> bool {
        match self {
            Shown::AsBefore => false,
            Shown::NotAccepted { refused, .. } => refused.is_some(),
            Shown::Unreadable(_) => true,
            Shown::Accepted(accepted) => {
                accepted.plan.finished.is_some() || accepted.plan.held.is_some()
            }
        }
    }

    /// The status to be shown; none where it stays as it is. `more`: troubles that came up since.
    pub fn status(
        &self,
        run: &SynthesisRun,
        more: &[Trouble],
        now_millis: i64,
    ) -> Option<SynthesisRunStatus> {
        let before = run.status.clone().unwrap_or_default();
        let generation = run.metadata.generation;
        let with_more = |troubles: &[Trouble]| [more, troubles].concat();
        match self {
            Shown::AsBefore => None,
            Shown::NotAccepted { refused, troubles } => {
                let troubles = with_more(troubles);
                let situation = Situation {
                    acceptance: refused
                        .as_deref()
                        .map_or(Acceptance::Inspecting, Acceptance::Refused),
                    suspended: run.spec.suspend,
                    plan: None,
                    troubles: &troubles,
                };
                Some(before_acceptance(
                    &situation,
                    &before.conditions,
                    generation,
                    now_millis,
                ))
            }
            Shown::Unreadable(trouble) => {
                let troubles = with_more(std::slice::from_ref(trouble));
                let situation = Situation {
                    acceptance: Acceptance::Accepted,
                    suspended: run.spec.suspend,
                    plan: None,
                    troubles: &troubles,
                };
                let shown =
                    before_acceptance(&situation, &before.conditions, generation, now_millis);
                // What was shown of the run is still the best that is known.
                Some(SynthesisRunStatus {
                    conditions: shown.conditions,
                    observed_generation: generation,
                    phase: shown.phase,
                    ..before
                })
            }
            Shown::Accepted(accepted) => {
                let troubles = with_more(&accepted.troubles);
                Some(status(&View {
                    run: &accepted.run,
                    record: &accepted.record,
                    plan: &accepted.plan,
                    progress: &accepted.progress,
                    troubles: &troubles,
                    previous: &before.conditions,
                    generation,
                    now_millis,
                }))
            }
        }
    }
}

/// What is to be done for the run.
pub fn decide(scene: &Scene<'_>) -> Step {
    let live = validate(scene.run, Environment::Cluster);
    let Some(map) = record_of(scene) else {
        return accept::accept(scene, live);
    };
    let text = map.record.as_deref().unwrap_or_default();
    match RunRecord::from_json(text) {
        Ok(record) => {
            let version = map.version.clone();
            let saved = Saved { record, version };
            go_on::go_on(scene, saved.record.clone(), Some(&saved), live)
        }
        Err(error) => {
            let advice = match error {
                RecordError::OtherVersion(_) => "",
                _ => {
                    "; restore a readable record, or delete the ConfigMap to start again from what the workspace holds"
                }
            };
            Step::only(Shown::Unreadable(Trouble::new(
                reason::RECORD_UNREADABLE,
                format!("ConfigMap {}: {error}{advice}", map.name),
            )))
        }
    }
}

/// The ConfigMap that holds the record.
fn record_of<'a>(scene: &Scene<'a>) -> Option<&'a Arc<SeenMap>> {
    let owner = Owner::of(scene.run);
    let name = record_name(&owner.name, &owner.uid);
    let maps = scene.belongings.maps.iter();
    maps.into_iter()
        .find(|map| map.name == name && map.record.is_some() && !map.is_leaving)
}
