//! Room in the run's record, which keeps the resolved spec beside what happens: a spec that leaves too little is refused before
//! anything starts.

use scalequest_crds::inspection::Fault;
use scalequest_crds::run::SynthesisRunSpec;

use super::{fault, places};
use crate::record::RECORD_MAX_BYTES;
use crate::record::compact::STAGE_BYTES;

/// Bytes of what the inspection finds of a model, and of a file beside its location.
const FACTS_BYTES: usize = 400;

/// Checks that a record has room for the resolved spec, what the inspection finds of it, its trainings and one wave.
pub(super) fn check(spec: &SynthesisRunSpec, faults: &mut Vec<Fault>) {
    let Ok(value) = serde_json::to_value(spec) else {
        return;
    };
    let taken = value.to_string().len();
    let files = places::question_files(spec).map(|location| location.len() + FACTS_BYTES);
    let found = FACTS_BYTES * spec.models.len() + files.sum::<usize>();
    // Four trainings a generator; label, scorer and publish; a wave of six stages and its generators.
    let stages = STAGE_BYTES * (5 * spec.generators.len() + 9);
    if taken + found + stages <= RECORD_MAX_BYTES {
        return;
    }
    let largest = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, part)| (part.to_string().len(), name))
        .max();
    let (size, name) = largest.map_or((0, ""), |(size, name)| (size, name.as_str()));
    faults.push(fault(
        "spec",
        format!(
            "takes {taken} bytes with its recipe's defaults, and the run's record of {RECORD_MAX_BYTES} has to hold {} more of what happens: shorten it; the largest part is spec.{name} with {size} bytes",
            found + stages
        ),
    ));
}

#[cfg(test)]
mod tests {
    use crate::parse::parse;
    use crate::record::{RECORD_MAX_BYTES, RunRecord};
    use crate::validate::{Environment, validate};

    fn run(prompt: usize) -> String {
        let prompt = "p".repeat(prompt);
        let generators: Vec<String> = (0..8)
            .map(|n| format!("  - {{name: g{n}, model: m, systemPrompt: {prompt}}}\n"))
            .collect();
        let files: Vec<String> = (0..20)
            .map(|n| format!("  - {{path: {}{n}}}\n", "s".repeat(200)))
            .collect();
        format!(
            "apiVersion: scalequest.dev/v1alpha1\nkind: SynthesisRun\nmetadata: {{name: long}}\nspec:\n  recipe: MathSimple\n  target: {{examples: 10}}\n  models: [{{name: m, source: {{path: m}}}}]\n  seedQuestions:\n{}  generators:\n{}  responses: {{model: m}}\n  workspace: {{path: w}}\n  output: {{path: o}}\n",
            files.concat(),
            generators.concat()
        )
    }

    #[test]
    fn a_spec_that_leaves_no_room_in_the_record_is_refused_with_its_largest_part() {
        let faults = validate(&parse(&run(2000)).unwrap(), Environment::Local).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        let said = faults[0].to_string();
        assert!(said.starts_with("spec: takes "), "{said}");
        assert!(
            said.contains("the largest part is spec.generators"),
            "{said}"
        );
    }

    #[test]
    fn what_is_accepted_leaves_room_for_a_wave() {
        let (mut accepted, mut prompt) = (0, 50);
        while let Ok(valid) = validate(&parse(&run(prompt)).unwrap(), Environment::Local) {
            let record = RunRecord::new(&valid, Default::default(), Default::default(), 0);
            assert!(record.to_json().len() < RECORD_MAX_BYTES);
            assert!(record.has_room_for_a_wave(), "with prompts of {prompt}");
            (accepted, prompt) = (accepted + 1, prompt + 50);
        }
        assert!(accepted > 5 && prompt < 2048, "{prompt}");
    }
}
