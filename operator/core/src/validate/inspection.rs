//! Holds what the worker found against what the spec asks: a model that cannot play its part, seeds that teach nothing.

use scalequest_crds::protocol::preflight::{Fault, Inspection};

use super::{ValidRun, fault};

/// Every fault in `inspection`, its own first; empty where the run can be accepted.
pub fn check_inspection(run: &ValidRun, inspection: &Inspection) -> Vec<Fault> {
    check_but(run, inspection, &[])
}

/// The same of an inspection that fetched nothing: of the models that it would have had to fetch nothing is known, which is no fault.
pub fn check_unfetched(run: &ValidRun, inspection: &Inspection) -> Vec<Fault> {
    check_but(run, inspection, &inspection.not_fetched)
}

/// `unknown`: the models of which nothing needs to be known.
fn check_but(run: &ValidRun, inspection: &Inspection, unknown: &[String]) -> Vec<Fault> {
    let mut faults = inspection.faults.clone();
    if !faults.is_empty() {
        return faults;
    }
    for (index, model) in run.spec().models.iter().enumerate() {
        let is_known = inspection
            .models
            .iter()
            .any(|facts| facts.name == model.name);
        if !is_known && !unknown.contains(&model.name) {
            faults.push(fault(
                format!("spec.models[{index}]"),
                format!("`{}` was not found by the inspection", model.name),
            ));
        }
    }
    let files = run.spec().seed_questions.len();
    if inspection.seed_questions.len() != files {
        faults.push(fault(
            "spec.seedQuestions",
            format!(
                "{} of {files} files were read by the inspection",
                inspection.seed_questions.len()
            ),
        ));
    }
    let benchmarks = run
        .method()
        .filter
        .contamination
        .as_ref()
        .map_or(0, |(_, benchmarks)| benchmarks.len());
    if inspection.benchmarks.len() != benchmarks {
        faults.push(fault(
            "spec.filters.contamination.benchmarks",
            format!(
                "{} of {benchmarks} files were read by the inspection",
                inspection.benchmarks.len()
            ),
        ));
    }
    if run.method().difficulty.is_some()
        && inspection
            .seed_questions
            .iter()
            .all(|file| file.with_answers == 0)
    {
        faults.push(fault("spec.filters.difficulty", "needs seed questions with known answers, and none of spec.seedQuestions has any: set answerField, or remove the filter"));
    }
    let is_trained = run
        .method()
        .generators
        .iter()
        .any(|generator| generator.qft.is_some());
    if is_trained && inspection.seed_questions.iter().all(|file| file.rows == 0) {
        faults.push(fault(
            "spec.seedQuestions",
            "hold no question: the generators have nothing to learn from",
        ));
    }
    faults
}
