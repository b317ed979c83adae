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
        if preflight.model(&model.name).is_none() && !unknown.contains(&model.name) {
            errors.push(field_error(
                format!("spec.models[{index}]"),
                format!("`{}` was not found by the preflight", model.name),
            ));
        }
    }
    let spec = run.spec();
    let (seeds, benchmarks) = (&preflight.seed_questions, &preflight.benchmarks);
    let files = [
        ("seedQuestions", seeds.len(), spec.seed_questions.len()),
        (
            "filters.contamination.benchmarks",
            benchmarks.len(),
            spec.benchmarks().len(),
        ),
    ];
    for (name, read, named) in files {
        if read != named {
            let message = format!("{read} of {named} files were read by the preflight");
            errors.push(field_error(format!("spec.{name}"), message));
        }
    }
    if run.method().difficulty.is_some() && seeds.iter().all(|file| file.with_answers == 0) {
        errors.push(field_error("spec.filters.difficulty", "needs seed questions with known answers, and none of spec.seedQuestions has any: set answerField, or remove the filter"));
    }
    let mut generators = run.method().generators.iter();
    let is_trained = generators.any(|generator| generator.qft.is_some());
    if is_trained && seeds.iter().all(|file| file.rows == 0) {
        errors.push(field_error(
            "spec.seedQuestions",
            "hold no question: the generators have nothing to learn from",
        ));
    }
    errors
}
