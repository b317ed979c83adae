//! SynthesisRun, group `scalequest.dev`, version `v1alpha1`: the API for a cluster and for one machine alike. The spec is what a user
//! writes; status, conditions and reject reasons are what a user reads. Nothing else belongs here, since every change is a change of
//! the API.

// clippy takes the repeated `validation = …` members of one attribute for duplicates.
#[allow(clippy::duplicated_attributes)]
mod synthesis_run;

pub mod model;

pub mod model_roles;

pub mod generator;

pub mod filters;

pub mod languages;

pub mod responses;

pub mod storage_location;

pub mod pods;

mod quantity;

pub mod patterns;

pub mod stage;

pub mod stage_id;

pub mod reject_reason;

pub mod status;

pub mod conditions;

mod cel_rules;

mod crd;

pub use crd::{crd_yaml, schema};
pub use filters::{
    Benchmark, Contamination, Difficulty, Duplicates, Filters, Language, Solvability,
};
pub use generator::{Generator, Lora, Qft, Qpo, Sampling, Tuning};
pub use languages::{LANGUAGES, language_codes};
pub use model::{
    Dtype, Engine, EngineType, HubSource, Model, ModelCache, ModelSource, OpenAiEngine, Prices,
    SecretKey, ServerEngine,
};
pub use pods::{FailurePolicy, PodSettings};
pub use quantity::Quantity;
pub use reject_reason::RejectReason;
pub use responses::{Agreement, AnswerFormat, Responses, Reward, Verification};
pub use stage::Stage;
pub use stage_id::StageId;
pub use status::SynthesisRunStatus;
pub use storage_location::{SeedQuestions, StorageLocation, Store};
pub use synthesis_run::{
    API_VERSION, Approval, Budget, Domain, KIND, MAX_NAME, Recipe, SynthesisRun, SynthesisRunSpec,
    Target,
};
