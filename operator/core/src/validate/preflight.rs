//! Holds what the worker found against what the spec asks: a model that cannot play its part, seeds that teach nothing.

use scalequest_crds::protocol::preflight::{FieldError, PreflightReport};

use super::ValidRun;
use crate::field_error::field_error;

/// Every error in `preflight`, its own first; empty where the run can be accepted.
pub fn check_preflight(run: &ValidRun, preflight: &PreflightReport) -> Vec<FieldError> {
    check_but(run, preflight, &[])
}

/// The same of a preflight that fetched nothing: of the models that it would have had to fetch nothing is known, which is no error.
pub fn check_unfetched(run: &ValidRun, preflight: &PreflightReport) -> Vec<FieldError> {
    check_but(run, preflight, &preflight.not_fetched)
}

/// `unknown`: the models of which nothing needs to be known.
fn check_but(run: &ValidRun, preflight: &PreflightReport, unknown: &[String]) -> Vec<FieldError> {
    let mut errors = preflight.errors.clone();
    if !errors.is_empty() {
        return errors;
    }
    for (index, model) in run.spec().models.iter().enumerate() {
        let is_known = preflight
            .models
            .iter()
            .any(|facts| facts.name == model.name);
        if !is_known && !unknown.contains(&model.name) {
            errors.push(field_error(
                format!("spec.models[{index}]"),
                format!("`{}` was not found by the preflight", model.name),
            ));
        }
    }
    let files = run.spec().seed_questions.len();
    if preflight.seed_questions.len() != files {
        errors.push(field_error(
            "spec.seedQuestions",
            format!(
                "{} of {files} files were read by the preflight",
                preflight.seed_questions.len()
            ),
        ));
    }
    let benchmarks = run
        .method()
        .filter
        .contamination
        .as_ref()
        .map_or(0, |(_, benchmarks)| benchmarks.len());
    if preflight.benchmarks.len() != benchmarks {
        errors.push(field_error(
            "spec.filters.contamination.benchmarks",
            format!(
                "{} of {benchmarks} files were read by the preflight",
                preflight.benchmarks.len()
            ),
        ));
    }
    if run.method().difficulty.is_some()
        && preflight
            .seed_questions
            .iter()
            .all(|file| file.with_answers == 0)
    {
        errors.push(field_error("spec.filters.difficulty", "needs seed questions with known answers, and none of spec.seedQuestions has any: set answerField, or remove the filter"));
    }
    let is_trained = run
        .method()
        .generators
        .iter()
        .any(|generator| generator.qft.is_some());
    if is_trained && preflight.seed_questions.iter().all(|file| file.rows == 0) {
        errors.push(field_error(
            "spec.seedQuestions",
            "hold no question: the generators have nothing to learn from",
        ));
    }
    errors
}
