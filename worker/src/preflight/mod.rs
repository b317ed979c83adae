//! Preflight checks of everything that a spec refers to, before a run starts: models by their headers, question files line by line, workspace
//! and output by a first request and a write. They report all errors at once and change nothing but the model cache. They do not know what
//! follows from a report.

mod question_files;

mod places;

mod roles;

mod fetch;

mod models;

use scalequest_crds::protocol::preflight::{FieldError, Part, PreflightReport};
use scalequest_crds::v1alpha1::SynthesisRunSpec;

use crate::hub::Settings;
use crate::stages::{CancellationToken, ProgressReporter};

/// What the checks need from their caller.
pub struct PreflightContext<'a> {
    /// Name of the run, if it has one.
    pub run: Option<&'a str>,
    /// Whether a run follows: fetches models that are not cached, and checks that workspace and output are writable. Otherwise only
    /// whether models could be fetched is checked.
    pub fetch: bool,
    /// Settings of downloads.
    pub settings: Settings,
    /// Reports the progress of downloads.
    pub reporter: &'a ProgressReporter,
    /// Requests a stop.
    pub cancellation: &'a CancellationToken,
}

/// Runs the preflight checks on `part` of `spec` and returns their report; `None` if a stop was requested.
pub fn check(
    spec: &SynthesisRunSpec,
    part: &Part,
    context: &PreflightContext<'_>,
) -> Option<PreflightReport> {
    let mut others = PreflightReport::default();
    question_files::check(spec, part, &mut others);
    if part.places {
        places::check(spec, context, &mut others);
    }
    // A download can take hours: it does not start for a spec that is invalid anyway.
    let is_valid = others.errors.is_empty();
    let models = models::check(spec, part, context, is_valid)?;
    Some(PreflightReport::of_parts(spec, [models, others]))
}

fn field_error(field: String, message: impl std::fmt::Display) -> FieldError {
    FieldError {
        field,
        message: message.to_string(),
    }
}
