//! Looks at the question files: seed questions and benchmarks, each line.

use scalequest_crds::inspection::{FileFacts, Inspection};
use scalequest_crds::run::SynthesisRunSpec;

use super::fault;
use crate::dataset::jsonl::inspect_questions;

/// The member that holds the question where the spec does not say.
const QUESTION: &str = "question";

/// Looks at every question file of the spec.
pub fn files(spec: &SynthesisRunSpec, inspection: &mut Inspection) {
    for (index, file) in spec.seed_questions.iter().enumerate() {
        let at = format!("spec.seedQuestions[{index}]");
        let question = file.question_field.as_deref().unwrap_or(QUESTION);
        let facts = look(
            &at,
            file.path.as_ref(),
            file.uri.as_ref(),
            question,
            file.answer_field.as_deref(),
            inspection,
        );
        inspection.seed_questions.extend(facts);
    }
    let contamination = spec
        .filters
        .as_ref()
        .and_then(|filters| filters.contamination.as_ref());
    for (index, file) in contamination
        .iter()
        .flat_map(|contamination| &contamination.benchmarks)
        .enumerate()
    {
        let at = format!("spec.filters.contamination.benchmarks[{index}]");
        let question = file.question_field.as_deref().unwrap_or(QUESTION);
        let facts = look(
            &at,
            file.path.as_ref(),
            file.uri.as_ref(),
            question,
            None,
            inspection,
        );
        inspection.benchmarks.extend(facts);
    }
}

fn look(
    at: &str,
    path: Option<&String>,
    uri: Option<&String>,
    question: &str,
    answer: Option<&str>,
    inspection: &mut Inspection,
) -> Option<FileFacts> {
    let (member, location) = match (path, uri) {
        (Some(path), _) => ("path", path),
        (None, Some(uri)) => ("uri", uri),
        (None, None) => {
            inspection.faults.push(fault(
                at.to_owned(),
                "give `path` (a file) or `uri` (an object)",
            ));
            return None;
        }
    };
    match inspect_questions(location, question, answer) {
        Ok(facts) => Some(facts),
        Err(error) => {
            inspection
                .faults
                .push(fault(format!("{at}.{member}"), error));
            None
        }
    }
}
