//! Turns a spec into a [`ValidRun`], for which the rest of the operator cannot fail, or into every error a person must mend. Pure:
//! files and models are looked at by the worker's preflight, whose findings [`check_preflight`] holds against the spec.

pub mod method;

mod references;

mod models;

mod places;

mod pods;

mod record_size;

mod limits;

mod preflight;

use crate::field_error::field_error;
use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::v1alpha1::{SynthesisRun, SynthesisRunSpec};

pub use limits::Limits;
pub use method::Method;
pub(crate) use places::location;
pub use preflight::{check_preflight, check_unfetched};

/// Where a run is to be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// On this machine, by child processes.
    Local,
    /// In a cluster, by Jobs.
    Cluster,
}

/// A run that can be planned. Made by [`validate`] alone.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidRun {
    name: String,
    spec: SynthesisRunSpec,
    method: Method,
    limits: Limits,
    notes: Vec<FieldError>,
    workspace: String,
    output: String,
}

impl ValidRun {
    /// `metadata.name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The spec with everything filled in from its recipe.
    pub fn spec(&self) -> &SynthesisRunSpec {
        &self.spec
    }

    /// What the stages are to do, with nothing left open.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// What stops the run.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What is set in the spec and not used in this environment, or odd: for a person, no obstacle.
    pub fn notes(&self) -> &[FieldError] {
        &self.notes
    }

    /// Directory or URI by which a worker reaches the workspace.
    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    /// Directory or URI by which a worker reaches the output.
    pub fn output(&self) -> &str {
        &self.output
    }
}

/// Checks a resolved spec for one environment. Each step of [`validate`] adds what it finds.
struct Validator<'a> {
    spec: &'a SynthesisRunSpec,
    environment: Environment,
    errors: Vec<FieldError>,
    notes: Vec<FieldError>,
}

impl Validator<'_> {
    fn error(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.errors.push(field_error(field, message));
    }

    fn note(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.notes.push(field_error(field, message));
    }

    fn is_local(&self) -> bool {
        self.environment == Environment::Local
    }
}

/// Fills in the recipe's defaults and checks the run as a whole; all errors at once.
///
/// # Errors
/// Every error, in the order of the spec's fields.
pub fn validate(run: &SynthesisRun, environment: Environment) -> Result<ValidRun, Vec<FieldError>> {
    let at_once = |field, message: String| vec![field_error(field, message)];
    let value = serde_json::to_value(run).map_err(|e| at_once("spec", e.to_string()))?;
    let spec = crate::recipe::resolve(&run.spec).map_err(|e| at_once("spec", e))?;
    let method = method::read(&spec).ok_or_else(|| {
        let message = "has no default for a value that is absent";
        at_once("spec.recipe", message.into())
    })?;
    let mut validator = Validator {
        spec: &spec,
        environment,
        errors: crate::parse::check_schema(&value),
        notes: Vec::new(),
    };
    validator.check_references();
    validator.check_amounts(&method);
    validator.check_models();
    validator.check_places();
    validator.check_pods();
    validator.check_languages();
    validator.check_record_size();
    let limits = validator.read_limits();
    let Validator { errors, notes, .. } = validator;
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(ValidRun {
        name: run.metadata.name.clone().unwrap_or_default(),
        method,
        limits,
        notes,
        workspace: location(&spec.workspace),
        output: location(&spec.output),
        spec,
    })
}

#[cfg(test)]
mod tests;
