//! Checks the question files: every line of seed questions and benchmarks.

use scalequest_crds::protocol::preflight::{FileFacts, Part, PreflightReport};
use scalequest_crds::v1alpha1::SynthesisRunSpec;
use scalequest_crds::v1alpha1::storage_location::DEFAULT_QUESTION_FIELD;

use super::field_error;
use crate::storage::question_files::check_questions;

/// Checks the question files of a part of the spec.
pub(super) fn check(spec: &SynthesisRunSpec, part: &Part, report: &mut PreflightReport) {
    for index in part.seed_questions.clone() {
        let Some(file) = spec.seed_questions.get(index) else {
            break;
        };
        let at = format!("spec.seedQuestions[{index}]");
        let question = file
            .question_field
            .as_deref()
            .unwrap_or(DEFAULT_QUESTION_FIELD);
        let facts = check_file(
            &at,
            file.location().located(),
            question,
            file.answer_field.as_deref(),
            report,
        );
        report.seed_questions.extend(facts);
    }
    let benchmarks = spec.benchmarks();
    for index in part.benchmarks.clone() {
        let Some(file) = benchmarks.get(index) else {
            break;
        };
        let at = format!("spec.filters.contamination.benchmarks[{index}]");
        let question = file
            .question_field
            .as_deref()
            .unwrap_or(DEFAULT_QUESTION_FIELD);
        let facts = check_file(&at, file.location().located(), question, None, report);
        report.benchmarks.extend(facts);
    }
}

fn check_file(
    at: &str,
    located: Option<(&str, String)>,
    question: &str,
    answer: Option<&str>,
    report: &mut PreflightReport,
) -> Option<FileFacts> {
    let Some((member, location)) = located else {
        report.errors.push(field_error(
            at.to_owned(),
            "give `path` (a file) or `uri` (an object)",
        ));
        return None;
    };
    match check_questions(&location, question, answer) {
        Ok(facts) => Some(facts),
        Err(error) => {
            report
                .errors
                .push(field_error(format!("{at}.{member}"), error));
            None
        }
    }
}
